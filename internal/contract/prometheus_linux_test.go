package contract

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A real Prometheus scrapes a real Caddy, by the configuration that
// docs/operations/monitoring.md shows, and evaluates the rules and the dashboard
// that are there.

// prometheus is one of Debian's, which scrapes an address.
type prometheus struct{ server }

func newPrometheus(t *testing.T, target string) prometheus {
	t.Helper()
	wantServers(t)
	config := ""
	for _, e := range examples(t) {
		if e.language == "yaml" && filepath.Base(e.file) == "monitoring.md" {
			config += e.text
		}
	}
	file := filepath.Join(t.TempDir(), "prometheus.yml")
	config = strings.NewReplacer("15s", "1s", "localhost:2019", target, "/etc/prometheus/access-tokens.yml", operations(t, "alerts.yml")).Replace(config)
	if !strings.Contains(config, target) || !strings.Contains(config, "alerts.yml") {
		t.Fatalf("docs/operations/monitoring.md has another configuration by now:\n%s", config)
	}
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return prometheus{serve(t, "prometheus", "--config.file", file, "--storage.tsdb.path", "{DIR}/data", "--web.listen-address", "{ADDRESS}")}
}

// get asks Prometheus' own API. It isn't ready at once.
func (p prometheus) get(path string, into any) bool {
	response, err := http.Get("http://" + p.address + "/api/v1/" + path)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return err == nil && response.StatusCode == http.StatusOK && json.Unmarshal(text, into) == nil
}

// finds tells how many series a query finds, or why it can't be evaluated.
func (p prometheus) finds(query string) (series int, complaint string) {
	response, err := http.Get("http://" + p.address + "/api/v1/query?query=" + url.QueryEscape(query))
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	var answer struct {
		Error string
		Data  struct{ Result []any }
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return 0, err.Error()
	}
	return len(answer.Data.Result), answer.Error
}

type alertRule struct{ Name, State, Health, LastError, LastEvaluation string }

// rules are the rules that have been evaluated.
func (p prometheus) rules() map[string]alertRule {
	var answer struct {
		Data struct{ Groups []struct{ Rules []alertRule } }
	}
	all := make(map[string]alertRule)
	if !p.get("rules", &answer) {
		return nil
	}
	for _, group := range answer.Data.Groups {
		for _, rule := range group.Rules {
			if rule.Health != "unknown" {
				all[rule.Name] = rule
			}
		}
	}
	return all
}

// dashboardQueries are those of docs/operations/grafana.json, by the titles of
// their panels, for all instances and projects.
func dashboardQueries(t *testing.T) map[string]string {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(read(t, operations(t, "grafana.json"))), &dashboard); err != nil {
		t.Fatal(err)
	}
	queries := make(map[string]string)
	variables := strings.NewReplacer("$instance", ".*", "$project", ".*", "$__rate_interval", "5m")
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			query := variables.Replace(target.Expr)
			if strings.Contains(query, "$") {
				t.Errorf("%s: nothing here fills in %s", panel.Title, query)
			}
			queries[query] = panel.Title
		}
	}
	if len(queries) == 0 {
		t.Fatal("the dashboard has no queries")
	}
	return queries
}

func TestPrometheus(t *testing.T) {
	wantServers(t)
	t.Parallel()
	g := start(t, withMetrics(site("allow_generate everyone")))
	p := newPrometheus(t, g.addresses[2])
	g.wait(t, "Prometheus has scraped", func() bool { n, _ := p.finds(metricPrefix + "store_writable"); return n == 1 })

	const days = 86400
	made := g.create(t, as("bob"), 100*days, "")
	wantStatus(t, g.do(t, ask{auth: bearer(made.value)}), http.StatusOK)
	wantStatus(t, g.do(t, ask{}), http.StatusUnauthorized)
	queries := dashboardQueries(t)
	left := ""
	defer func() {
		if t.Failed() {
			t.Log("the last that found nothing: ", left)
		}
	}()
	g.wait(t, "the dashboard shows something everywhere", func() bool {
		for query, title := range queries {
			n, complaint := p.finds(query)
			if n == 0 && !strings.Contains(query, "backup_last_success") { // there is none yet
				left = title + ": " + query + " " + complaint
				continue
			}
			delete(queries, query)
		}
		return len(queries) == 0
	})

	expected := len(ruleName.FindAllString(read(t, operations(t, "alerts.yml")), -1))
	g.wait(t, "the rules are evaluated", func() bool { return len(p.rules()) == expected })
	for name, rule := range p.rules() {
		// How full and how slow this disk is isn't this test's business.
		ofTheDisk := strings.Contains(name, "Room") || name == "AccessTokensStoreSlow"
		if rule.Health != "ok" || rule.State != "inactive" && !ofTheDisk {
			t.Errorf("%s: %+v", name, rule)
		}
	}

	// Something happens.
	g.restart(t) // which puts what there is into a table
	tables, err := filepath.Glob(filepath.Join(g.store(), "db", "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("%v, %v", tables, err)
	}
	for _, table := range tables {
		if err := os.Truncate(table, 0); err != nil {
			t.Fatal(err)
		}
	}
	g.wait(t, "the store is found damaged, and that alerts", func() bool {
		g.do(t, askFor(made))
		rules := p.rules()
		return rules["AccessTokensStoreNotWritable"].State != "inactive" && rules["AccessTokensDegraded"].State != "inactive"
	})
}
