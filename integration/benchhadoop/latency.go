package main

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// latency reads the broker's own histogram: seconds from the call that carries an ask to the response that carries the
// container, and how many containers were in the same call.
func (b *bench) latency(ctx context.Context, admin string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/metrics", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	p := expfmt.NewTextParser(model.UTF8Validation)
	families, err := p.TextToMetricFamilies(resp.Body)
	if err != nil {
		return err
	}
	f := families["fairway_yarn_allocate_latency_seconds"]
	if f == nil || len(f.Metric) == 0 {
		return fmt.Errorf("the broker has no fairway_yarn_allocate_latency_seconds")
	}
	h := f.Metric[0].Histogram
	for i, bucket := range h.Bucket { // cumulative; summed over the rounds
		if i >= len(b.buckets) {
			b.buckets = append(b.buckets, [2]float64{bucket.GetUpperBound(), 0})
		}
		b.buckets[i][1] += float64(bucket.GetCumulativeCount())
	}
	b.granted += float64(h.GetSampleCount())
	b.inCall += counter(families["fairway_yarn_answered_in_call_total"])
	for name, q := range map[string]float64{"p50": 0.5, "p99": 0.99} {
		b.r.AllocateLatencyMs[name] = math.Round(quantile(b.buckets, b.granted, q)*1e5) / 100
	}
	if b.granted > 0 {
		b.r.AnsweredInCall = math.Round(b.inCall/b.granted*1000) / 1000
	}
	return nil
}

func counter(f *dto.MetricFamily) (sum float64) {
	for _, m := range f.GetMetric() {
		sum += m.GetCounter().GetValue()
	}
	return sum
}

// quantile of a cumulative histogram: the upper bound of the bucket that holds it, which flatters nobody.
func quantile(buckets [][2]float64, n, q float64) float64 {
	for _, b := range buckets {
		if b[1] >= n*q && !strings.Contains(fmt.Sprint(b[0]), "Inf") {
			return b[0]
		}
	}
	return math.MaxInt32
}
