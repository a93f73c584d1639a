package contract

import (
	"encoding/json"
	"maps"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What docs/operations says of metrics is what a real Caddy has.

// operations returns a file of docs/operations.
func operations(t testing.TB, name string) string {
	t.Helper()
	text, err := filepath.Abs(filepath.Join(repository, "docs", "operations", name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

var metricRow = regexp.MustCompile("(?m)^\\| `" + metricPrefix + "([a-z_]+)` \\| ([a-z]+) \\|([^|]*)\\|")

// documentedMetrics are the metrics of docs/operations/monitoring.md, without their
// prefix, by type and labels: "counter project result".
func documentedMetrics(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, row := range metricRow.FindAllStringSubmatch(read(t, operations(t, "monitoring.md")), -1) {
		all[row[1]] = strings.Join(append([]string{row[2]}, strings.Fields(strings.ReplaceAll(row[3], "`", ""))...), " ")
	}
	return all
}

var labelName = regexp.MustCompile(`([a-z_]+)="`)

// realMetrics are those that Caddy has, in the same form.
func realMetrics(t *testing.T, g *gateway) map[string]string {
	t.Helper()
	status, body, err := g.askAdmin(http.MethodGet, "/metrics", "", "")
	if err != nil || status != http.StatusOK {
		t.Fatalf("%d %v", status, err)
	}
	all := make(map[string]string)
	name, kind := "", ""
	for line := range strings.Lines(body) {
		if of, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, kind, _ = strings.Cut(strings.TrimSpace(of), " ")
			continue
		}
		ours, ok := strings.CutPrefix(name, metricPrefix)
		if _, seen := all[ours]; !ok || seen || strings.HasPrefix(line, "#") {
			continue
		}
		labels := []string{kind}
		for _, label := range labelName.FindAllStringSubmatch(line, -1) {
			if label[1] != "le" {
				labels = append(labels, label[1])
			}
		}
		all[ours] = strings.Join(labels, " ")
	}
	return all
}

// absentAtFirst is a metric that a gateway doesn't have before its first backup.
const absentAtFirst = "backup_last_success_timestamp_seconds"

func TestMetricsInTheDocuments(t *testing.T) {
	t.Parallel()
	g := start(t, site("allow_generate everyone"))
	documented := documentedMetrics(t)
	g.wait(t, "tokens are counted", func() bool { return realMetrics(t, g)["tokens"] != "" })
	got := realMetrics(t, g)
	if _, there := got[absentAtFirst]; !there && documented[absentAtFirst] != "" {
		got[absentAtFirst] = "gauge"
	}
	if diff := cmp.Diff(got, documented); diff != "" {
		t.Errorf("docs/operations/monitoring.md (-is +says):\n%s", diff)
	}
}

// They are pushed, too.
func TestMetricsOverOTLP(t *testing.T) {
	t.Parallel()
	c := newCollector(t)
	g := start(t, site("allow_generate everyone"), globals("metrics {\n\totlp\n}"), c.sends)
	for name := range documentedMetrics(t) {
		if name != absentAtFirst {
			g.wait(t, name+" is sent", func() bool { return c.has(metricPrefix + name) })
		}
	}
}

var anyMetric = regexp.MustCompile(metricPrefix + `([a-z_]+)`)

// Rules, their tests, the dashboard and the documents speak of no other metrics, and
// the dashboard of all.
func TestMetricsThatOperatorsAreToldOf(t *testing.T) {
	documented := documentedMetrics(t)
	files, err := filepath.Glob(operations(t, "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%v %v", files, err)
	}
	shown := make(map[string]bool)
	for _, file := range files {
		for _, found := range anyMetric.FindAllStringSubmatch(read(t, file), -1) {
			name := found[1]
			for _, part := range []string{"_bucket", "_sum", "_count"} {
				if whole, is := strings.CutSuffix(name, part); is && strings.HasPrefix(documented[whole], "histogram") {
					name = whole
				}
			}
			if documented[name] == "" {
				t.Errorf("%s: there is no %s", file, found[0])
			}
			shown[name] = shown[name] || filepath.Base(file) == "grafana.json"
		}
	}
	for name := range documented {
		if !shown[name] {
			t.Errorf("the dashboard doesn't show %s", name)
		}
	}
}

var (
	ruleName  = regexp.MustCompile(`(?m)^ *- alert: (\w+)$`)
	fireTest  = regexp.MustCompile(`alertname: (\w+)\n +exp_alerts:\n +- exp_labels`)
	quietTest = regexp.MustCompile(`\{eval_time: \w+, alertname: (\w+)\}`)
	alertRow  = regexp.MustCompile("(?m)^\\| `(AccessTokens\\w+)` \\|")
)

// Each rule is explained, and has a test in which it fires and one in which it
// doesn't.
func TestAlertRulesAreTestedAndExplained(t *testing.T) {
	names := func(in *regexp.Regexp, file string) []string {
		found := make(map[string]bool)
		for _, match := range in.FindAllStringSubmatch(read(t, operations(t, file)), -1) {
			found[match[1]] = true
		}
		return slices.Sorted(maps.Keys(found))
	}
	rules := names(ruleName, "alerts.yml")
	if len(rules) == 0 {
		t.Fatal("there are no rules")
	}
	for what, got := range map[string][]string{
		"fires in a test":         names(fireTest, "alerts_test.yml"),
		"is silent in a test":     names(quietTest, "alerts_test.yml"),
		"is in the alerts' table": names(alertRow, "monitoring.md"),
	} {
		if diff := cmp.Diff(rules, got); diff != "" {
			t.Errorf("%s (-rule +%s):\n%s", what, what, diff)
		}
	}
}

// The dashboard is one that Grafana can show: no panel hides another, and each asks
// the data source that is chosen.
func TestDashboardIsSound(t *testing.T) {
	t.Parallel()
	type source struct{ UID string }
	var dashboard struct {
		UID, Title string
		Panels     []struct {
			ID      int
			Type    string
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct {
				RefID      string
				Datasource source
			}
		}
		Templating struct{ List []struct{ Name, Type string } }
	}
	text := read(t, operations(t, "grafana.json"))
	if err := json.Unmarshal([]byte(text), &dashboard); err != nil || dashboard.UID == "" || dashboard.Title == "" {
		t.Fatalf("%v %q %q", err, dashboard.UID, dashboard.Title)
	}
	ids, taken := make(map[int]bool), make(map[[2]int]string)
	for _, panel := range dashboard.Panels {
		if ids[panel.ID] || panel.Title == "" {
			t.Errorf("panel %d %q has somebody else's number or no title", panel.ID, panel.Title)
		}
		ids[panel.ID] = true
		at := panel.GridPos
		if at.W < 1 || at.H < 1 || at.X < 0 || at.X+at.W > 24 {
			t.Errorf("%s is outside of the grid: %+v", panel.Title, at)
		}
		for x := at.X; x < at.X+at.W; x++ {
			for y := at.Y; y < at.Y+at.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" {
					t.Fatalf("%s hides %s", panel.Title, other)
				}
				taken[[2]int{x, y}] = panel.Title
			}
		}
		if (panel.Type == "row") != (len(panel.Targets) == 0) {
			t.Errorf("%s has %d queries", panel.Title, len(panel.Targets))
		}
		for _, target := range panel.Targets {
			if target.Datasource.UID != "${datasource}" || target.RefID == "" {
				t.Errorf("%s: %+v", panel.Title, target)
			}
		}
	}
	defined := make(map[string]bool)
	for _, variable := range dashboard.Templating.List {
		defined[variable.Name] = true
	}
	for _, used := range regexp.MustCompile(`\$\{?([a-z]+)`).FindAllStringSubmatch(text, -1) {
		if !defined[used[1]] {
			t.Errorf("nothing defines %s", used[0])
		}
	}
}
