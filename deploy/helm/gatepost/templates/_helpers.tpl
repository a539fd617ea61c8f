{{- define "gatepost.labels" -}}
app.kubernetes.io/name: gatepost
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "gatepost.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "gatepost.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "gatepost.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- /* Kubernetes gives a group the right to read secrets; keys and password files must be for their owner alone. */ -}}
{{- define "gatepost.copySecrets" -}}
- name: secrets
  image: {{ include "gatepost.image" . | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [sh, -c, "umask 077; for file in /secrets/*/*; do install -m 0600 \"$file\" /run/gatepost/; done"]
  securityContext: {{- include "gatepost.security" . | nindent 4 }}
{{- end }}
