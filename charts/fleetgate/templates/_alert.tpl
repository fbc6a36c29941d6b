{{- /* One alert: root, name, severity, for, expression, summary. */ -}}
{{- define "fleetgate.alert" -}}
{{- $root := index . 0 -}}
- alert: {{ index . 1 }}
  expr: {{ index . 4 | quote }}
  for: {{ index . 3 }}
  labels: {severity: {{ index . 2 }}}
  annotations:
    summary: {{ index . 5 | quote }}
    {{- with $root.Values.metrics.rules.runbook }}
    runbook_url: {{ printf "%s#%s" . (index $ 1) | quote }}
    {{- end }}
{{- end -}}
