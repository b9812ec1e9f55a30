{{/* ---- Names and labels ---- */}}

{{- define "nodedot.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "nodedot.fullname" -}}
{{- $name := include "nodedot.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "nodedot.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride }}
{{- end }}

{{- define "nodedot.selectorLabels" -}}
app.kubernetes.io/name: {{ include "nodedot.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "nodedot.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "nodedot.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: resolver
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "nodedot.serviceAccountName" -}}
{{- default (ternary (include "nodedot.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name }}
{{- end }}

{{- define "nodedot.image" -}}
{{- with .Values.image }}
{{- if .digest }}
{{- printf "%s@%s" .repository .digest }}
{{- else }}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) }}
{{- end }}
{{- end }}
{{- end }}

{{/* ---- kube-dns ---- */}}

{{/* The daemon takes variables that begin with NODEDOT_ for its options, so the Service's name does not begin so. */}}
{{- define "nodedot.kubeDns.service" -}}
{{- printf "kube-dns-%s" (include "nodedot.fullname" .) | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* "true": the address of the chart's own Service comes with the pods' environment, which holds the Services of their own
     namespace only. */}}
{{- define "nodedot.kubeDns.inEnvironment" -}}
{{- if and .Values.kubeDns.enabled (not .Values.kubeDns.address) (eq (include "nodedot.namespace" .) .Values.kubeDns.namespace) }}true{{ end }}
{{- end }}

{{- define "nodedot.kubeDns.address" -}}
{{- $values := .Values.kubeDns }}
{{- if $values.address }}
{{- $values.address }}
{{- else if include "nodedot.kubeDns.inEnvironment" . }}
{{- printf "${%s_SERVICE_HOST}" (include "nodedot.kubeDns.service" . | upper | replace "-" "_") }}
{{- else }}
{{- $found := lookup "v1" "Service" $values.namespace $values.serviceName }}
{{- if $found }}
{{- $found.spec.clusterIP }}
{{- else }}
{{- fail (printf "there is no Service %s in the namespace %s to be found: set kubeDns.address to the address of the cluster's DNS, install into the namespace %s, or set kubeDns.enabled=false" $values.serviceName $values.namespace $values.namespace) }}
{{- end }}
{{- end }}
{{- end }}

{{/* ---- Configuration ---- */}}

{{- define "nodedot.serviceMode" -}}
{{- if eq .Values.mode "service" }}true{{ end }}
{{- end }}

{{/* In service mode the pod's own address, of whichever family; with both families all addresses, which wants an ACL. */}}
{{- define "nodedot.listen" -}}
{{- $families := .Values.service.ipFamilies }}
{{- if not (include "nodedot.serviceMode" .) }}
{{- join ", " .Values.localDns }}
{{- else if gt (len $families) 1 -}}
0.0.0.0:8853, [::]:8853
{{- else if has "IPv6" $families -}}
[${POD_IP}]:8853
{{- else -}}
${POD_IP}:8853
{{- end }}
{{- end }}

{{/* nodedot's own default port needs no mention, which is right for either family: only in service mode is it known here
     whether the address of the pod wants brackets. */}}
{{- define "nodedot.metrics.listen" -}}
{{- $port := int .Values.metrics.port }}
{{- if eq $port 9553 -}}
${POD_IP}
{{- else if and (include "nodedot.serviceMode" .) (eq (default "IPv4" (first .Values.service.ipFamilies)) "IPv6") -}}
[${POD_IP}]:{{ $port }}
{{- else -}}
${POD_IP}:{{ $port }}
{{- end }}
{{- end }}

{{/* Alerts and dashboard speak of an instance as a node; a pod's address would change with every update in service mode. */}}
{{- define "nodedot.metrics.instance" -}}
- sourceLabels: [__meta_kubernetes_pod_node_name]
  targetLabel: instance
{{- end }}

{{/* An upstream's name has 63 characters at most; of two long domains with the same beginning the hash tells which is which. */}}
{{- define "nodedot.stubDomain.upstream" -}}
{{- if gt (len .) 58 }}
{{- printf "stub-%s-%s" (trunc 49 .) (sha256sum . | trunc 8) }}
{{- else }}
{{- printf "stub-%s" . }}
{{- end }}
{{- end }}

{{/* The ports of their servers, as JSON. */}}
{{- define "nodedot.stubDomain.ports" -}}
{{- $ports := list }}
{{- range $servers := .Values.stubDomains }}
{{- range $servers }}
{{- $ports = append $ports (regexMatch "^([0-9.]+|\\[.*\\]):[0-9]+$" . | ternary (regexFind "[0-9]+$" .) "53" | int) }}
{{- end }}
{{- end }}
{{- toJson (uniq $ports) }}
{{- end }}

{{/* What the chart sets without being asked, as JSON. */}}
{{- define "nodedot.config.defaults" -}}
{{- $config := dict
    "server" (dict "listen" (include "nodedot.listen" .) "reload-spread" 30)
    "cache" (dict "size" "32M")
    "upstream quad9" (dict "address" (list "9.9.9.9" "149.112.112.112") "name" "dns.quad9.net" "auth" "ca")
    "zone ." (dict "upstream" "quad9") }}
{{- if not (include "nodedot.serviceMode" .) }}
{{- $_ := set $config.server "manage-address" true }}
{{- else if gt (len .Values.service.ipFamilies) 1 }}
{{- /* Addresses that pods have. */}}
{{- $_ := set $config "acl" (dict "allow" (list "10.0.0.0/8" "100.64.0.0/10" "172.16.0.0/12" "192.168.0.0/16" "fc00::/7")) }}
{{- end }}
{{- if .Values.kubeDns.enabled }}
{{- $_ := set $config "upstream kube-dns" (dict "address" (include "nodedot.kubeDns.address" .) "transport" "plain") }}
{{- range prepend .Values.kubeDns.zones .Values.dnsDomain }}
{{- $_ := set $config (printf "zone %s" .) (dict "upstream" "kube-dns" "negative-max-ttl" 5 "stale-max" 0) }}
{{- end }}
{{- end }}
{{- range $domain, $servers := .Values.stubDomains }}
{{- $name := include "nodedot.stubDomain.upstream" $domain }}
{{- $_ := set $config (printf "upstream %s" $name) (dict "address" $servers "transport" "plain") }}
{{- $_ := set $config (printf "zone %s" $domain) (dict "upstream" $name) }}
{{- end }}
{{- if .Values.metrics.enabled }}
{{- $_ := set $config "metrics" (dict "listen" (include "nodedot.metrics.listen" .)) }}
{{- end }}
{{- range $name, $files := .Values.upstreamFiles }}
{{- $keys := default dict (get $config (printf "upstream %s" $name)) }}
{{- with $files.pins }}{{ $_ := set $keys "pin-file" (printf "/etc/nodedot-upstreams/%s/pins/%s" $name .key) }}{{ end }}
{{- with $files.ca }}{{ $_ := set $keys "ca-file" (printf "/etc/nodedot-upstreams/%s/ca/%s" $name .key) }}{{ end }}
{{- with $files.clientCertificate }}
{{- $_ := set $keys "client-cert" (printf "/etc/nodedot-upstreams/%s/client/%s" $name (default "tls.crt" .certKey)) }}
{{- $_ := set $keys "client-key" (printf "/etc/nodedot-upstreams/%s/client/%s" $name (default "tls.key" .privateKey)) }}
{{- end }}
{{- $_ := set $config (printf "upstream %s" $name) $keys }}
{{- end }}
{{- toJson $config }}
{{- end }}

{{/* The chart's settings with the user's over them, as JSON. A null takes away what the chart would set. */}}
{{- define "nodedot.config" -}}
{{- $config := include "nodedot.config.defaults" . | fromJson }}
{{- range $title, $keys := .Values.config }}
{{- if kindIs "invalid" $keys }}
{{- $_ := unset $config $title }}
{{- else }}
{{- $section := default dict (get $config $title) }}
{{- range $key, $value := $keys }}
{{- if kindIs "invalid" $value }}
{{- $_ := unset $section $key }}
{{- else }}
{{- $_ := set $section $key $value }}
{{- end }}
{{- end }}
{{- $_ := set $config $title $section }}
{{- end }}
{{- end }}
{{- $used := list }}
{{- range $title, $keys := $config }}
{{- $used = concat $used (compact (list (get $keys "upstream") (get $keys "fallback"))) }}
{{- end }}
{{- range list "quad9" "kube-dns" }}
{{- $title := printf "upstream %s" . }}
{{- if not (or (has . $used) (hasKey $.Values.config $title)) }}
{{- $_ := unset $config $title }}
{{- end }}
{{- end }}
{{- toJson $config }}
{{- end }}

{{- define "nodedot.config.value" -}}
{{- if kindIs "slice" . }}
{{- $parts := list }}
{{- range . }}{{ $parts = append $parts (include "nodedot.config.value" .) }}{{ end }}
{{- join ", " $parts }}
{{- else if kindIs "bool" . }}
{{- ternary "yes" "no" . }}
{{- else if kindIs "float64" . }}
{{- int64 . }}
{{- else }}
{{- . }}
{{- end }}
{{- end }}

{{/* The INI file. The cache's size is not in it: it comes with the pod (NODEDOT_CACHE_SIZE), together with the memory limit
     that fits, so that no running pod takes up a larger cache than its limit allows. */}}
{{- define "nodedot.ini" -}}
{{- range $title, $keys := include "nodedot.config" . | fromJson }}
{{- if eq $title "cache" }}{{ $keys = omit $keys "size" }}{{ end }}
{{- if $keys }}
[{{ $title }}]
{{- range $key, $value := $keys }}
{{ $key }} = {{ include "nodedot.config.value" $value }}
{{- end }}
{{ end }}
{{- end }}
{{- end }}

{{- define "nodedot.cacheSize" -}}
{{- $config := include "nodedot.config" . | fromJson }}
{{- default "32M" (include "nodedot.config.value" (default "" (default dict $config.cache).size)) }}
{{- end }}

{{/* A port of the configuration: list of the context, key, default. */}}
{{- define "nodedot.probePort" -}}
{{- $config := include "nodedot.config" (index . 0) | fromJson }}
{{- default (index . 2) (get (default dict $config.probes) (index . 1)) | int }}
{{- end }}

{{/* ---- Memory ---- */}}

{{/* Bytes of "32M" and the like as nodedot reads them, and of Kubernetes' "128Mi"; "0" of what is neither. */}}
{{- define "nodedot.bytes" -}}
{{- $text := toString . }}
{{- $number := regexFind "^[0-9]+" $text | int64 }}
{{- $unit := regexReplaceAll "^[0-9]+" $text "" | trimSuffix "i" }}
{{- $power := get (dict "" 1 "K" 1024 "M" 1048576 "G" 1073741824) $unit }}
{{- mul $number (default 0 $power) }}
{{- end }}

{{/* Threads that answer; "auto" is at most 4. */}}
{{- define "nodedot.workers" -}}
{{- $config := include "nodedot.config" . | fromJson }}
{{- max 4 (int (default 0 (toString (default "" (default dict $config.server).workers) | regexFind "^[0-9]+$"))) }}
{{- end }}

{{/* The cache, once; for each listen address 8 MiB a worker, which is what its full UDP receive buffer takes (the kernel's memory
     counts, too); for each worker above 4 twice 4 MiB; and 96 MiB for the rest: a generation takes 13 MiB with 4 workers,
     1,000 TCP connections, rates of clients, metrics and a busy query log, a reload has two, and the connections' buffers
     are the kernel's. */}}
{{- define "nodedot.memoryLimit" -}}
{{- $cache := include "nodedot.bytes" (include "nodedot.cacheSize" .) | int64 }}
{{- $addresses := ternary (max 1 (len .Values.service.ipFamilies)) (len .Values.localDns) (eq .Values.mode "service") }}
{{- $workers := include "nodedot.workers" . | int }}
{{- printf "%dMi" (add (div (add $cache 1048575) 1048576) 96 (mul 8 $workers $addresses) (mul 8 (sub $workers 4))) }}
{{- end }}

{{- define "nodedot.resources" -}}
{{- $resources := deepCopy .Values.resources }}
{{- $limits := default dict $resources.limits }}
{{- if not $limits.memory }}
{{- $_ := set $limits "memory" (include "nodedot.memoryLimit" .) }}
{{- end }}
{{- $_ := set $resources "limits" $limits }}
{{- $given := include "nodedot.bytes" $limits.memory | int64 }}
{{- $cache := include "nodedot.bytes" (include "nodedot.cacheSize" .) | int64 }}
{{- if and (gt $given 0) (lt $given (add $cache 33554432)) }}
{{- fail (printf "resources.limits.memory %v leaves less than 32Mi beside a cache of %s: it would be killed when the cache fills. Leave the limit out (the chart computes %s) or lower config.cache.size" $limits.memory (include "nodedot.cacheSize" .) (include "nodedot.memoryLimit" .)) }}
{{- end }}
{{- toYaml $resources }}
{{- end }}

{{/* ---- The pod ---- */}}

{{- define "nodedot.podSecurityContext" -}}
{{- $context := dict "seccompProfile" (dict "type" "RuntimeDefault") "fsGroup" 65532 }}
{{- if include "nodedot.serviceMode" . }}
{{- $context = merge $context (dict "runAsNonRoot" true "runAsUser" 65532 "runAsGroup" 65532) }}
{{- else }}
{{- /* The supervisor; the resolver changes to config.server.user. */}}
{{- $context = merge $context (dict "runAsUser" 0 "runAsGroup" 0) }}
{{- end }}
{{- toYaml (mergeOverwrite $context .Values.podSecurityContext) }}
{{- end }}

{{- define "nodedot.securityContext" -}}
{{- $capabilities := dict "drop" (list "ALL") }}
{{- if not (include "nodedot.serviceMode" .) }}
{{- $_ := set $capabilities "add" .Values.capabilities }}
{{- end }}
{{- $context := dict "allowPrivilegeEscalation" false "readOnlyRootFilesystem" true "capabilities" $capabilities }}
{{- toYaml (mergeOverwrite $context .Values.securityContext) }}
{{- end }}

{{- define "nodedot.updateStrategy" -}}
{{- if .Values.updateStrategy }}
{{- toYaml .Values.updateStrategy }}
{{- else if include "nodedot.serviceMode" . -}}
type: RollingUpdate
rollingUpdate:
  maxSurge: 1
  maxUnavailable: 0
{{- else -}}
type: RollingUpdate
rollingUpdate:
  maxUnavailable: 1
{{- end }}
{{- end }}

{{/* A probe's target: list of the context, key, default. In link-local mode the pod's own address is the node's, where no
     probe port is open, so the host is given. */}}
{{- define "nodedot.probe" -}}
{{- $context := index . 0 -}}
tcpSocket:
  {{- if not (include "nodedot.serviceMode" $context) }}
  host: {{ first $context.Values.localDns | quote }}
  {{- end }}
  port: {{ include "nodedot.probePort" . }}
{{- end }}

{{/* In service mode a pod that is to go answers until every kube-proxy knows: it is told at most once a second. With
     publishNotReadyAddresses Kubernetes sends queries to a pod until it is gone, so there waiting helps nobody. */}}
{{- define "nodedot.lifecycle" -}}
{{- if and (include "nodedot.serviceMode" .) (not .Values.service.publishNotReadyAddresses) (semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version) -}}
preStop:
  sleep:
    seconds: 3
{{- end }}
{{- end }}

{{/* One volume of upstreamFiles: list of its name, and {secret or configMap}. */}}
{{- define "nodedot.upstreamVolume" -}}
{{- $from := index . 1 -}}
- name: {{ index . 0 }}
  {{- if $from.secret }}
  secret:
    secretName: {{ $from.secret }}
    defaultMode: 0440
  {{- else }}
  configMap:
    name: {{ $from.configMap }}
    defaultMode: 0444
  {{- end }}
{{- end }}

{{/* ---- What cannot be said in values.schema.json ---- */}}

{{- define "nodedot.validate" -}}
{{- if not (include "nodedot.serviceMode" .) }}
{{- range .Values.localDns }}
{{- if has . (list "0.0.0.0" "::") }}
{{- fail (printf "localDns: %s would answer on every address of the node, for anybody: name the addresses" .) }}
{{- end }}
{{- end }}
{{- range list "SETUID" "SETGID" "KILL" }}
{{- if not (has . $.Values.capabilities) }}
{{- fail (printf "capabilities: without %s the supervisor cannot start and end a resolver with a user of its own" .) }}
{{- end }}
{{- end }}
{{- end }}
{{- $server := default dict .Values.config.server }}
{{- if hasKey $server "listen" }}
{{- fail "config.server.listen: set localDns instead (link-local mode; service mode has its own address): the probes and the notes follow from it" }}
{{- end }}
{{- $probes := default dict .Values.config.probes }}
{{- if hasKey $probes "address" }}
{{- fail "config.probes.address: the probes go to the first address of localDns; put the one you want first" }}
{{- end }}
{{- if eq "0" (include "nodedot.bytes" (include "nodedot.cacheSize" .)) }}
{{- fail (printf "config.cache.size %s is no number of bytes such as 64M: the memory limit is computed from it" (include "nodedot.cacheSize" .)) }}
{{- end }}
{{- $config := include "nodedot.config" . | fromJson }}
{{- range $title, $keys := $config }}
{{- range compact (list (get $keys "upstream") (get $keys "fallback")) }}
{{- if not (hasKey $config (printf "upstream %s" .)) }}
{{- fail (printf "config: [%s] names the upstream %s, and there is no section \"upstream %s\"" $title . .) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* ---- What a default-deny namespace must allow ---- */}}

{{- define "nodedot.clientEgress" -}}
- to:
    {{- if include "nodedot.serviceMode" . }}
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: {{ include "nodedot.namespace" . }}
      podSelector:
        matchLabels:
          {{- include "nodedot.selectorLabels" . | nindent 10 }}
    {{- else }}
    {{- range .Values.localDns }}
    - ipBlock:
        cidr: {{ . }}/{{ ternary 128 32 (contains ":" .) }}
    {{- end }}
    {{- end }}
  ports:
    {{- $port := ternary 8853 53 (eq .Values.mode "service") }}
    - protocol: UDP
      port: {{ $port }}
    - protocol: TCP
      port: {{ $port }}
{{- end }}
