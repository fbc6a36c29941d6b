{{- /* The sidecar: a restartable init container, so that it is there before the proxy and goes after it has drained. It listens on loopback:
no other pod can ask or change it; the kubelet looks at a second port that tells health alone. */ -}}
{{- define "fleetgate.opa" -}}
- name: opa
  restartPolicy: Always
  image: {{ include "fleetgate.image" (list .Values.opa.image "1.19.1-static") | quote }}
  imagePullPolicy: {{ .Values.opa.image.pullPolicy }}
  args:
    - run
    - --server
    - --addr=127.0.0.1:8181
    - --diagnostic-addr=0.0.0.0:8282
    - --log-level=error
    - --skip-version-check
    {{- if .Values.opa.config }}
    - --config-file=/etc/opa/opa.yaml
    {{- else }}
    - --watch
    - --ignore=.*
    - /etc/opa/policies
    {{- end }}
  securityContext: {{- include "fleetgate.containerSecurity" . | nindent 4 }}
  {{- with .Values.opa.envFrom }}
  envFrom: {{- toYaml . | nindent 4 }}
  {{- end }}
  ports:
    - {name: opa-health, containerPort: 8282}
  startupProbe: {httpGet: {path: "/health?bundles", port: opa-health}, periodSeconds: 2, failureThreshold: 60}
  readinessProbe: {httpGet: {path: "/health?bundles", port: opa-health}, periodSeconds: 5}
  livenessProbe: {httpGet: {path: /health, port: opa-health}, periodSeconds: 10, failureThreshold: 6}
  resources: {{- toYaml .Values.opa.resources | nindent 4 }}
  volumeMounts:
    {{- if .Values.opa.config }}
    - {name: opa, mountPath: /etc/opa, readOnly: true}
    {{- else }}
    - {name: opa, mountPath: /etc/opa/policies, readOnly: true}
    {{- end }}
{{- end -}}

{{- /* Names of the files that OPA reads, as JSON. Not as a bundle: OPA follows no links in one, and a ConfigMap is a folder of links; so
other YAML, which would count as data, must stay out. */ -}}
{{- define "fleetgate.rego" -}}
{{- $names := list -}}
{{- range $name, $text := .Values.policies.files -}}
{{- if or (and (hasSuffix ".rego" $name) (not (hasSuffix "_test.rego" $name))) (has $name (list "data.yaml" "data.json")) -}}{{- $names = append $names $name -}}{{- end -}}
{{- end -}}
{{ toJson $names }}
{{- end -}}
