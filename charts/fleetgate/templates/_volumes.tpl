{{- /* What the proxy and the shipper read alike: the environment of the store, and files. */ -}}
{{- define "fleetgate.storeEnv" -}}
{{- with include "fleetgate.storeSecret" . }}
{{- $store := index $.Values.store $.Values.store.mode }}
- name: STORE_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ . }}, key: {{ ternary $store.passwordKey "password" (ne $store.existingSecret "") }}}}
{{- end }}
{{- if and (eq .Values.store.mode "redis") .Values.store.redis.sentinelPasswordKey }}
- name: STORE_SENTINEL_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ .Values.store.redis.existingSecret }}, key: {{ .Values.store.redis.sentinelPasswordKey }}}}
{{- end }}
{{- end -}}

{{- define "fleetgate.mounts" -}}
- {name: config, mountPath: /etc/fleetgate/config, readOnly: true}
{{- range list "agents" "policies" "budgets" }}
{{- if include "fleetgate.filesMap" (list $ .) }}
- {name: {{ . }}, mountPath: /etc/fleetgate/{{ . }}, readOnly: true}
{{- end }}
{{- end }}
{{- if include "fleetgate.keysSecret" . }}
- {name: keys, mountPath: /etc/fleetgate/keys, readOnly: true}
{{- end }}
{{- if include "fleetgate.providersSecret" . }}
- {name: providers, mountPath: /run/fleetgate/providers, readOnly: true}
{{- end }}
{{- if and (eq .Values.store.mode "redis") .Values.store.redis.caSecret }}
- {name: store-ca, mountPath: /run/fleetgate/store, readOnly: true}
{{- end }}
{{- if and (eq .Values.store.mode "redis") .Values.store.redis.clientSecret }}
- {name: store-client, mountPath: /run/fleetgate/store-client, readOnly: true}
{{- end }}
{{- end -}}

{{- define "fleetgate.volumes" -}}
- name: config
  configMap: {name: {{ include "fleetgate.fullname" . }}-config}
{{- range $what := list "agents" "policies" "budgets" }}
{{- with include "fleetgate.filesMap" (list $ $what) }}
- name: {{ $what }}
  configMap: {name: {{ . }}}
{{- end }}
{{- end }}
{{- with include "fleetgate.keysSecret" . }}
- name: keys
  secret:
    secretName: {{ . }}
    items: [{key: {{ ternary $.Values.keys.key "keys.yaml" (ne $.Values.keys.existingSecret "") | quote }}, path: keys.yaml}]
{{- end }}
{{- with include "fleetgate.providersSecret" . }}
- name: providers
  secret: {secretName: {{ . }}}
{{- end }}
{{- if and (eq .Values.store.mode "redis") .Values.store.redis.caSecret }}
- name: store-ca
  secret:
    secretName: {{ .Values.store.redis.caSecret }}
    items: [{key: {{ .Values.store.redis.caKey | quote }}, path: ca.crt}]
{{- end }}
{{- if and (eq .Values.store.mode "redis") .Values.store.redis.clientSecret }}
- name: store-client
  secret:
    secretName: {{ .Values.store.redis.clientSecret }}
    defaultMode: 0440
    items:
      - {key: {{ .Values.store.redis.clientCertKey | quote }}, path: tls.crt}
      - {key: {{ .Values.store.redis.clientKeyKey | quote }}, path: tls.key}
{{- end }}
{{- end -}}

{{- /* Rules of egress that lead to the store. */ -}}
{{- define "fleetgate.storeEgress" -}}
{{- if eq .Values.store.mode "valkey" }}
- ports: [{protocol: TCP, port: 6379}]
  to: [{podSelector: {matchLabels: {{- include "fleetgate.valkeySelector" . | fromYaml | toJson | nindent 6 }}}}]
{{- else if eq .Values.store.mode "redis" }}
{{- $sentinels := contains "sentinel" .Values.store.redis.url }}
- ports:
    {{- range include "fleetgate.redisPorts" . | fromJsonArray }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
    {{- if $sentinels }}
    - {protocol: TCP, port: 6379}
    {{- end }}
  {{- with $.Values.networkPolicy.proxy.redisTo }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end -}}
