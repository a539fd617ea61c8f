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

{{- /* The role of workers; "" for none, as in an upgrade of a release that has no secret for it yet. */ -}}
{{- define "gatepost.workerRole" -}}
{{- $there := lookup "v1" "Secret" .Release.Namespace (.Values.secrets.databaseWorker | default "") -}}
{{- if or $there (not .Release.IsUpgrade) -}}{{ .Values.database.workerRole | default "" }}{{- end -}}
{{- end }}

{{- /* The same database as database.url, for the role of workers. */ -}}
{{- define "gatepost.workerUrl" -}}
{{- $role := "//[^@/]+@" -}}
{{- if not (regexMatch $role .Values.database.url) -}}
{{- fail "database.url: write the role before the host, postgresql://ROLE@HOST/DATABASE, or set database.workerRole to \"\"" -}}
{{- end -}}
{{- regexReplaceAll $role .Values.database.url (printf "//%s@" (include "gatepost.workerRole" .)) -}}
{{- end }}

{{- /* Kubernetes gives a group the right to read secrets; keys and password files must be for their owner alone. */ -}}
{{- define "gatepost.copySecrets" -}}
- name: secrets
  image: {{ include "gatepost.image" . | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [sh, -c, "umask 077; for file in /secrets/*/*; do install -m 0600 \"$file\" /run/gatepost/; done"]
  securityContext: {{- include "gatepost.security" . | nindent 4 }}
{{- end }}
