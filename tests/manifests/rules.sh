#!/usr/bin/env bash
# Prints the PrometheusRule of components/monitoring: deploy/prometheus/hookline.rules.yml, which is what
# promtool tests, under a head and indented.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
cat <<'HEAD'
# Made by `make manifests` of deploy/prometheus/hookline.rules.yml: change that one.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: hookline
  labels:
    app.kubernetes.io/name: hookline
    app.kubernetes.io/part-of: hookline
spec:
HEAD
sed -n '/^groups:/,$p' deploy/prometheus/hookline.rules.yml | sed 's/^\(.\)/  \1/'
