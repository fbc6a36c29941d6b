{{- /* What fleetgate.yaml says, as a mapping without `models`, for templates that need to know. */ -}}
{{- define "fleetgate.known" -}}
{{- if .Values.configFile -}}{{ .Values.configFile | fromYaml | toYaml }}{{- else -}}{{ omit .Values.config "models" | toYaml }}{{- end -}}
{{- end -}}

{{- define "fleetgate.drain" -}}
{{- $limits := default dict (include "fleetgate.known" . | fromYaml).limits -}}
{{- if and .Values.configFile (not (hasKey $limits "drain_s")) -}}30
{{- else -}}{{ ternary $limits.drain_s 120 (hasKey $limits "drain_s") | float64 | ceil | int }}
{{- end -}}
{{- end -}}

{{- define "fleetgate.grace" -}}
{{- $least := add .Values.termination.preStopSeconds (include "fleetgate.drain" . | int) 20 | int -}}
{{- if kindIs "invalid" .Values.termination.graceSeconds -}}{{ $least }}
{{- else if lt (int .Values.termination.graceSeconds) $least -}}
{{- fail (printf "termination.graceSeconds: %v is less than preStopSeconds, limits.drain_s and 20 seconds for settles and records (%d): pods would be killed while their streams run" .Values.termination.graceSeconds $least) -}}
{{- else -}}{{ .Values.termination.graceSeconds }}
{{- end -}}
{{- end -}}

{{- define "fleetgate.total" -}}
{{- $limits := default dict (include "fleetgate.known" . | fromYaml).limits -}}
{{ ternary $limits.total_s 1800 (hasKey $limits "total_s") | float64 | ceil | int }}
{{- end -}}

{{- define "fleetgate.tenant" -}}
{{- if eq .Values.store.mode "valkey" -}}{{ printf "%s-%s" .Release.Namespace .Release.Name }}
{{- else -}}{{ .Values.store.redis.tenant }}
{{- end -}}
{{- end -}}

{{- define "fleetgate.store" -}}
{{- if eq .Values.store.mode "sqlite" -}}
store: sqlite:/data/fleetgate.db
{{- else if eq .Values.store.mode "valkey" -}}
store:
  url: redis://{{ include "fleetgate.fullname" . }}-valkey:6379/0
  tenant: {{ include "fleetgate.tenant" . | quote }}
  password: env:STORE_PASSWORD
{{- else if eq .Values.store.mode "redis" -}}
{{- $redis := .Values.store.redis -}}
store:
  url: {{ $redis.url | quote }}
  tenant: {{ include "fleetgate.tenant" . | quote }}
  release: {{ printf "%s/%s" .Release.Namespace .Release.Name | quote }}
  {{- with $redis.username }}
  username: {{ . | quote }}
  {{- end }}
  {{- if include "fleetgate.storeSecret" . }}
  password: env:STORE_PASSWORD
  {{- end }}
  {{- if $redis.caSecret }}
  ca: /run/fleetgate/store/ca.crt
  {{- end }}
  {{- if $redis.clientSecret }}
  cert: /run/fleetgate/store-client/tls.crt
  cert_key: /run/fleetgate/store-client/tls.key
  {{- end }}
  {{- if $redis.sentinelPasswordKey }}
  sentinel_password: env:STORE_SENTINEL_PASSWORD
  {{- end }}
  {{- with $redis.options }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
{{- end -}}

{{- /* One rule of `models`, with spares in the order that they were given. */ -}}
{{- define "fleetgate.model" -}}
{{ .match | toJson }}:
  {{- omit . "match" "failover" | toYaml | nindent 2 }}
  {{- with .failover }}
  {{- if kindIs "string" (first .) }}
  failover: {{ toJson . }}
  {{- else }}
  failover:
    {{- range . }}
    {{ .provider | toJson }}: {{ omit . "provider" | toJson }}
    {{- end }}
  {{- end }}
  {{- end }}
{{- end -}}

{{- define "fleetgate.yaml" -}}
{{- if .Values.configFile -}}
{{ .Values.configFile }}
{{- else -}}
{{- $c := deepCopy .Values.config -}}
{{- $_ := set $c "listen" (merge (dict "host" "0.0.0.0" "port" 8080 "admin_host" "0.0.0.0" "admin_port" 9090) (default dict $c.listen)) -}}
{{- $_ := set $c "auth" (merge (default dict $c.auth) (dict "mode" "keys")) -}}
{{- if include "fleetgate.keysSecret" . -}}{{- $_ := set $c.auth "keys" "/etc/fleetgate/keys/keys.yaml" -}}{{- end -}}
{{- $_ := set $c "limits" (merge (default dict $c.limits) (dict "drain_s" 120)) -}}
{{- if .Values.opa.enabled -}}{{- $_ := set $c "policy" (merge (dict "engine" "opa:http://127.0.0.1:8181") (default dict $c.policy)) -}}{{- end -}}
{{- $_ := set $c "agents" (list "/etc/fleetgate/agents/*") -}}
{{- range list "policies" "budgets" -}}
{{- if include "fleetgate.filesMap" (list $ .) -}}{{- $_ := set $c . (printf "/etc/fleetgate/%s" .) -}}{{- end -}}
{{- end -}}
{{ toYaml $c }}
models:
  {{- range .Values.models }}
  {{- include "fleetgate.model" . | nindent 2 }}
  {{- end }}
{{ include "fleetgate.store" . }}
{{- end -}}
{{- end -}}

{{- /* What a file of your own does not know: addresses, and where the chart mounts things. Settings in the environment win. */ -}}
{{- define "fleetgate.overrides" -}}
- {name: FLEETGATE_LISTEN_HOST, value: 0.0.0.0}
{{- if gt (int .Values.workers) 1 }}
- {name: FLEETGATE_LISTEN_WORKERS, value: {{ int .Values.workers | quote }}}
{{- end }}
{{- if .Values.configFile }}
- {name: FLEETGATE_LISTEN_PORT, value: "8080"}
- {name: FLEETGATE_LISTEN_ADMIN_HOST, value: 0.0.0.0}
- {name: FLEETGATE_LISTEN_ADMIN_PORT, value: "9090"}
- {name: FLEETGATE_AGENTS, value: /etc/fleetgate/agents/*}
{{- range list "policies" "budgets" }}
{{- if include "fleetgate.filesMap" (list $ .) }}
- {name: FLEETGATE_{{ upper . }}, value: /etc/fleetgate/{{ . }}}
{{- end }}
{{- end }}
{{- if include "fleetgate.keysSecret" . }}
- {name: FLEETGATE_AUTH_KEYS, value: /etc/fleetgate/keys/keys.yaml}
{{- end }}
{{- if .Values.opa.enabled }}
- {name: FLEETGATE_POLICY_ENGINE, value: "opa:http://127.0.0.1:8181"}
{{- end }}
{{- end }}
{{- end -}}

{{- /* Ports that providers, webhooks and the issuer of tokens are asked on, 443 among them. */ -}}
{{- define "fleetgate.egressPorts" -}}
{{- $known := include "fleetgate.known" . | fromYaml -}}
{{- $urls := list -}}
{{- range default dict $known.providers -}}
{{- if kindIs "map" .base_url -}}{{- $urls = concat $urls (values .base_url) -}}{{- else if .base_url -}}{{- $urls = append $urls .base_url -}}{{- end -}}
{{- end -}}
{{- range default list $known.webhooks -}}{{- if hasPrefix "http" .url -}}{{- $urls = append $urls .url -}}{{- end -}}{{- end -}}
{{- with dig "auth" "jwt" "jwks_url" "" $known -}}{{- $urls = append $urls . -}}{{- end -}}
{{- $ports := list 443 -}}
{{- range $urls -}}
{{- $port := regexFind ":[0-9]+$" (regexFind "^https?://[^/?#]+" .) | trimPrefix ":" -}}
{{- if $port -}}{{- $ports = append $ports (int $port) -}}{{- else if hasPrefix "http://" . -}}{{- $ports = append $ports 80 -}}{{- end -}}
{{- end -}}
{{ $ports | uniq | toJson }}
{{- end -}}

{{- define "fleetgate.redisPorts" -}}
{{- $ports := list -}}
{{- range regexFindAll ":[0-9]+" (trimPrefix "redis" .Values.store.redis.url) -1 -}}{{- $ports = append $ports (trimPrefix ":" . | int) -}}{{- end -}}
{{ ternary $ports (list (ternary 26379 6379 (contains "sentinel" .Values.store.redis.url))) (gt (len $ports) 0) | uniq | toJson }}
{{- end -}}
