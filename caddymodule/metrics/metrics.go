// Package metrics has the metrics of this process: their names, labels and
// documentation, which docs/operations/monitoring.md explains.
//
// Caddy begins a registry with each configuration. The metrics are made once and
// registered in each, so that a reload takes nothing off a counter. No label holds
// a user or a token: there are as many series as projects, which a project leaves
// when no site has it any more.
package metrics

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-access-tokens/caddy-access-tokens/internal/registry"
)

// prefix is what all names begin with.
const prefix = "caddy_access_tokens_"

// The values of labels, beside names of projects and modules.
const (
	ok          = "ok"
	yes         = "yes"
	no          = "no"
	notMine     = "not_mine"
	errored     = "error"
	limited     = "limited"
	active      = "active"
	expired     = "expired"
	nobodyAsked = "" // by whom a sign-in that is limited would have been decided
)

// refusals are the words of the access log for why a request was refused.
var refusals = []string{
	"missing", "malformed", "checksum", "unknown", "foreign", "project", "expired", "deleted",
	"off", "blocked", "scope", "address", "unavailable",
}

// changes are the events of the audit.
var changes = []string{
	registry.TokenCreated, registry.TokenRenewed, registry.TokenDeleted, registry.TokensDeleted,
	registry.SettingsChanged, registry.UserBlocked, registry.UserUnblocked,
}

// Those of projects, which count up.
var (
	requestsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: prefix + "requests_total",
		Help: "Requests by what became of their credentials: ok, or the word by which the access log says why they were refused.",
	}, []string{"project", "result"})
	authenticationDuration = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    prefix + "authentication_duration_seconds",
		Help:    "How long it took to decide about a token.",
		Buckets: []float64{5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 5e-3, 2.5e-2, 0.1, 1, 10},
	}, []string{"project"})
	signInsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: prefix + "sign_ins_total",
		Help: "What sign-ins said when they were asked who sent a request; limited: none was asked, because too many had failed.",
	}, []string{"project", "sign_in", "result"})
	changesTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: prefix + "changes_total",
		Help: "Changes by their event in the audit.",
	}, []string{"project", "event"})
)

// Those of projects, which are looked at when they are collected.
var (
	tokens         = describe("tokens", "Tokens that aren't deleted, by whether they have expired. Counted in the background.", "project", "state")
	expiringTokens = describe("expiring_tokens", "Active tokens that expire within a time. Counted in the background.", "project", "within")
	openStreams    = describe("open_streams", "WebSockets and long answers that tokens have opened, and that end with them.", "project")
)

// Those of the store.
var (
	commitDuration = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    prefix + "commit_duration_seconds",
		Help:    "How long the store took to make changes durable, as many at a time as there were.",
		Buckets: []float64{2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1, 2.5, 10},
	})
	storeSize     = describe("store_size_bytes", "The files of the store.")
	storeFree     = describe("store_free_bytes", "Free room on the disk under the store.")
	storeWritable = describe("store_writable", "1 while the store takes all changes; 0 if it is too full for new tokens, or can't be written any more.")
	flushAge      = describe("last_use_flush_age_seconds", "How old the oldest last use can be that is in memory alone.")
	auditFailures = describe("audit_failures_total", "How often the audit file couldn't be written.")
	backupSuccess = describe("backup_last_success_timestamp_seconds", "When the last scheduled backup succeeded. Absent before the first one.")
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prefix+name, help, labels, nil)
}

// within is how a label names one of census.Horizons.
func within(d time.Duration) string { return fmt.Sprintf("%dd", d/(24*time.Hour)) }

// Register makes registry have the metrics. It can be called again.
func Register(in *prometheus.Registry) error {
	err := in.Register(collector{})
	if _, again := errors.AsType[prometheus.AlreadyRegisteredError](err); again {
		return nil
	}
	return err
}

// collector collects all of them, but those of the store only while one is open:
// a Caddy that has no site with tokens has none of these metrics.
type collector struct{}

// Describe implements prometheus.Collector.
func (collector) Describe(to chan<- *prometheus.Desc) {
	for _, c := range []prometheus.Collector{requestsTotal, authenticationDuration, signInsTotal, changesTotal, commitDuration} {
		c.Describe(to)
	}
	for _, d := range []*prometheus.Desc{
		tokens, expiringTokens, openStreams,
		storeSize, storeFree, storeWritable, flushAge, auditFailures, backupSuccess,
	} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (collector) Collect(to chan<- prometheus.Metric) {
	for _, c := range []prometheus.Collector{requestsTotal, authenticationDuration, signInsTotal, changesTotal} {
		c.Collect(to)
	}
	open.collect(to, projects.names())
}

func gauge(to chan<- prometheus.Metric, d *prometheus.Desc, value float64, labels ...string) {
	to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}
