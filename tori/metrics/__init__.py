"""One catalogue of metrics: docs, Ray and Prometheus names and Grafana panels come from it."""
