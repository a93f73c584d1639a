package contract

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	metricsv1 "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// A collector takes traces and metrics as OpenTelemetry's does (OTLP over HTTP).
type collector struct {
	address string
	mu      sync.Mutex
	sent    strings.Builder // as it came
	spans   []*tracev1.Span
	metrics map[string]bool // by name
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{metrics: make(map[string]bool)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = c.take(r.URL.Path, body)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(server.Close)
	c.address = server.URL
	return c
}

// take takes what was sent. On the wire, a request to export looks like the data.
func (c *collector) take(path string, body []byte) error {
	var traces tracev1.TracesData
	var metrics metricsv1.MetricsData
	var err error
	switch path {
	case "/v1/traces":
		err = proto.Unmarshal(body, &traces)
	case "/v1/metrics":
		err = proto.Unmarshal(body, &metrics)
	default:
		err = fmt.Errorf("there is no %s", path)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent.Write(body)
	for _, resource := range traces.GetResourceSpans() {
		for _, scope := range resource.GetScopeSpans() {
			c.spans = append(c.spans, scope.GetSpans()...)
		}
	}
	for _, resource := range metrics.GetResourceMetrics() {
		for _, scope := range resource.GetScopeMetrics() {
			for _, metric := range scope.GetMetrics() {
				c.metrics[metric.GetName()] = true
			}
		}
	}
	return err
}

// sends makes a gateway send what it has to the collector, at once.
func (c *collector) sends(g *gateway) {
	for name, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": c.address, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
		"OTEL_BSP_SCHEDULE_DELAY": "20", "OTEL_TRACES_SAMPLER": "always_on", "OTEL_METRIC_EXPORT_INTERVAL": "100",
	} {
		g.vars[name] = value
	}
}

// has tells whether a metric was sent.
func (c *collector) has(metric string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.metrics[metric]
}

// with returns the attributes of the first span that has this one.
func (c *collector) with(name, value string) map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, span := range c.spans {
		attributes := map[string]string{"trace": fmt.Sprintf("%x", span.GetTraceId())}
		for _, a := range span.GetAttributes() {
			attributes[a.GetKey()] = a.GetValue().GetStringValue()
		}
		if attributes[name] == value {
			return attributes
		}
	}
	return nil
}

// heard tells whether a text is anywhere in what was sent.
func (c *collector) heard(text string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Contains(c.sent.String(), text)
}
