"""Dashboards as code: one list of boards, written out for Grafana and for Superset."""
