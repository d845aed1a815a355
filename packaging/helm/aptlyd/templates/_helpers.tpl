{{- define "aptlyd.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "aptlyd.selector" -}}
app.kubernetes.io/name: aptlyd
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "aptlyd.labels" -}}
{{ include "aptlyd.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | quote }}
{{- end -}}

{{/* The domain of the nodes' names. */}}
{{- define "aptlyd.domain" -}}
{{ include "aptlyd.name" . }}-nodes.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}
{{- end -}}

{{/* The nodes that a new one asks: those that form the cluster, whatever the number of replicas. */}}
{{- define "aptlyd.join" -}}
{{- $nodes := list -}}
{{- range $i := until (int .Values.bootstrapExpect) -}}
{{- $nodes = append $nodes (printf "%s-%d.%s:7401" (include "aptlyd.name" $) $i (include "aptlyd.domain" $)) -}}
{{- end -}}
{{ join "," $nodes }}
{{- end -}}

{{- define "aptlyd.secretName" -}}
{{ .Values.secret.existing | default (include "aptlyd.name" .) }}
{{- end -}}

{{- define "aptlyd.settings" -}}
{{- $settings := deepCopy .Values.settings -}}
{{- if .Values.tls.secretName -}}
{{- $settings = merge $settings (dict "tls-cert" "/etc/aptlyd-tls/tls.crt" "tls-key" "/etc/aptlyd-tls/tls.key") -}}
{{- end -}}
{{ toYaml $settings }}
{{- end -}}

{{- define "aptlyd.probe" -}}
httpGet:
  path: {{ .path }}
  port: clients
  scheme: {{ ternary "HTTPS" "HTTP" (not (empty .root.Values.tls.secretName)) }}
{{- end -}}
