{{- define "fleetgate.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "fleetgate.fullname" -}}
{{- $name := include "fleetgate.name" . -}}
{{- if .Values.fullnameOverride -}}{{ .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains $name .Release.Name -}}{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else -}}{{ printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- /* Selectors can never change: what stands here is for good. */ -}}
{{- define "fleetgate.selector" -}}
app.kubernetes.io/name: {{ include "fleetgate.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "fleetgate.proxySelector" -}}
{{ include "fleetgate.selector" . }}
app.kubernetes.io/component: proxy
{{- end -}}

{{- define "fleetgate.valkeySelector" -}}
{{ include "fleetgate.selector" . }}
app.kubernetes.io/component: valkey
{{- end -}}

{{- define "fleetgate.shipperSelector" -}}
{{ include "fleetgate.selector" . }}
app.kubernetes.io/component: shipper
{{- end -}}

{{- define "fleetgate.labels" -}}
{{- $own := dict "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version) "app.kubernetes.io/version" .Chart.AppVersion "app.kubernetes.io/managed-by" .Release.Service "app.kubernetes.io/part-of" "fleetgate" -}}
{{- toYaml (mergeOverwrite (deepCopy .Values.labels) $own (include "fleetgate.selector" . | fromYaml)) -}}
{{- end -}}

{{- define "fleetgate.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}{{ default (include "fleetgate.fullname" .) .Values.serviceAccount.name }}
{{- else -}}{{ default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end -}}

{{- /* An image: `{repository, tag, digest}` and the tag to take where there is none. */ -}}
{{- define "fleetgate.image" -}}
{{- $image := index . 0 -}}
{{- if $image.digest -}}{{ printf "%s@%s" $image.repository $image.digest }}
{{- else -}}{{ printf "%s:%s" $image.repository (default (index . 1) $image.tag) }}
{{- end -}}
{{- end -}}

{{- define "fleetgate.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "fleetgate.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- /* Where the admin token is: name of a Secret, or nothing. */ -}}
{{- define "fleetgate.adminSecret" -}}
{{- if .Values.admin.token.existingSecret -}}{{ .Values.admin.token.existingSecret }}
{{- else if .Values.admin.token.value -}}{{ include "fleetgate.fullname" . }}-admin
{{- end -}}
{{- end -}}

{{- define "fleetgate.keysSecret" -}}
{{- if .Values.keys.existingSecret -}}{{ .Values.keys.existingSecret }}
{{- else if .Values.keys.content -}}{{ include "fleetgate.fullname" . }}-keys
{{- end -}}
{{- end -}}

{{- define "fleetgate.providersSecret" -}}
{{- if .Values.providerKeys.existingSecret -}}{{ .Values.providerKeys.existingSecret }}
{{- else if .Values.providerKeys.values -}}{{ include "fleetgate.fullname" . }}-providers
{{- end -}}
{{- end -}}

{{- define "fleetgate.storeSecret" -}}
{{- if has .Values.store.mode (list "redis" "valkey") -}}
{{- $store := index .Values.store .Values.store.mode -}}
{{- if $store.existingSecret -}}{{ $store.existingSecret }}
{{- else if $store.password -}}{{ include "fleetgate.fullname" . }}-store
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The ConfigMap of `agents`, `policies` or `budgets`: yours, the chart's, or nothing. Called with the root and the word. */ -}}
{{- define "fleetgate.filesMap" -}}
{{- $root := index . 0 -}}{{- $what := index . 1 -}}{{- $from := index $root.Values $what -}}
{{- if $from.existingConfigMap -}}{{ $from.existingConfigMap }}
{{- else if $from.files -}}{{ include "fleetgate.fullname" $root }}-{{ $what }}
{{- end -}}
{{- end -}}

{{- define "fleetgate.adminService" -}}
{{- if or .Values.admin.service.enabled .Values.metrics.serviceMonitor.enabled }}true{{ end -}}
{{- end -}}
