// What no schema sees: whether the objects of one rendered kustomization fit each other, the programs'
// settings, and what README.md promises. Each rule calls say(object, field, fault) for what it finds.
import fs from 'node:fs'
import { bytes, containersOf, labelsOf, matches, nameOf, podOf, portsOf, runs, seconds } from './objects.mjs'
import * as budget from './budget.mjs'

const text = (file) => fs.readFileSync(file, 'utf8')
const LABEL = 'app.kubernetes.io/'
const clusterScoped = ['Namespace']

function selectors(set, say) {
    const one = (object, field, selector, found) => {
        if (found.length !== 1)
            say(object, field, `${JSON.stringify(selector)} matches ${found.length} workloads, not one`)
    }
    for (const w of set.of('Deployment', 'StatefulSet')) {
        if (!matches(w.spec.selector, labelsOf(w)))
            say(w, 'spec.selector', `does not match the template's labels ${JSON.stringify(labelsOf(w))}`)
        for (const t of podOf(w).topologySpreadConstraints ?? [])
            if (!matches(t.labelSelector, labelsOf(w)))
                say(w, 'topologySpreadConstraints.labelSelector', 'does not match the template\'s labels')
    }
    for (const s of set.of('Service'))
        one(s, 'spec.selector', s.spec.selector, set.selected({ matchLabels: s.spec.selector }))
    for (const p of set.of('PodDisruptionBudget')) {
        one(p, 'spec.selector', p.spec.selector, set.selected(p.spec.selector))
        if (p.spec.maxUnavailable !== 1)
            say(p, 'spec.maxUnavailable', 'is to be 1: nodes can be drained, pod by pod')
    }
    for (const n of set.of('NetworkPolicy')) {
        if (!set.selected(n.spec.podSelector).length)
            say(n, 'spec.podSelector', `${JSON.stringify(n.spec.podSelector)} matches no workload`)
        for (const peer of [...(n.spec.ingress ?? []).flatMap((r) => r.from ?? []),
            ...(n.spec.egress ?? []).flatMap((r) => r.to ?? [])])
            if (peer.podSelector && !peer.namespaceSelector && !set.selected(peer.podSelector).length)
                say(n, 'podSelector of a peer', `${JSON.stringify(peer.podSelector)} matches no workload here`)
    }
    for (const m of set.of('ServiceMonitor'))
        if (set.of('Service').filter((s) => matches(m.spec.selector, s.metadata.labels ?? {})).length !== 1)
            say(m, 'spec.selector', `${JSON.stringify(m.spec.selector)} does not match one Service`)
}

function scaling(set, say) {
    const scalers = { HorizontalPodAutoscaler: ['minReplicas', 'maxReplicas'],
        ScaledObject: ['minReplicaCount', 'maxReplicaCount'] }
    for (const s of set.of(...Object.keys(scalers))) {
        const ref = s.spec.scaleTargetRef, [min, max] = scalers[s.kind]
        const target = set.get(ref.kind ?? 'Deployment', ref.name)
        if (!target)
            say(s, 'spec.scaleTargetRef', `there is no ${ref.kind ?? 'Deployment'}/${ref.name}`)
        else if (target.spec.replicas !== undefined)
            say(target, 'spec.replicas', `${nameOf(s)} has them: each apply would undo what it did`)
        if (!(s.spec[min] >= 1)) say(s, `spec.${min}`, 'must be at least 1')
        if (!(s.spec[max] >= s.spec[min])) say(s, `spec.${max}`, `is less than ${min}`)
    }
}

function ports(set, say) {
    const admin = { producer: 'WEBHOOK_PRODUCER_ADMIN_PORT', worker: 'WEBHOOK_ADMIN_PORT' }
    for (const s of set.of('Service'))
        for (const w of set.selected({ matchLabels: s.spec.selector }))
            for (const p of s.spec.ports)
                if (!portsOf(w).some((c) => c.name === p.targetPort || c.containerPort === p.targetPort))
                    say(s, 'spec.ports.targetPort', `${nameOf(w)} has no port ${p.targetPort}`)
    for (const n of set.of('NetworkPolicy'))
        for (const p of (n.spec.ingress ?? []).flatMap((r) => r.ports ?? []))
            for (const w of set.selected(n.spec.podSelector))
                if (!portsOf(w).some((c) => c.name === p.port || c.containerPort === p.port))
                    say(n, 'spec.ingress.ports', `${nameOf(w)} has no port ${p.port}`)
    for (const m of set.of('ServiceMonitor'))
        for (const s of set.of('Service').filter((x) => matches(m.spec.selector, x.metadata.labels ?? {})))
            for (const e of m.spec.endpoints)
                if (!s.spec.ports.some((p) => p.name === e.port))
                    say(m, 'spec.endpoints.port', `${nameOf(s)} has no port named ${e.port}`)
    for (const i of set.of('Ingress'))
        for (const { service } of i.spec.rules.flatMap((r) => r.http.paths.map((p) => p.backend))) {
            const s = set.get('Service', service.name)
            if (!s?.spec.ports.some((p) => p.name === service.port.name || p.port === service.port.number))
                say(i, 'spec.rules.backend', `there is no Service/${service.name} with that port`)
        }
    for (const w of set.of('StatefulSet'))
        if (set.get('Service', w.spec.serviceName)?.spec.clusterIP !== 'None')
            say(w, 'spec.serviceName', `there is no headless Service/${w.spec.serviceName}`)
    for (const [name, setting] of Object.entries(admin)) {
        const w = set.component(name), has = (n) => portsOf(w).find((p) => p.name === n)?.containerPort
        const values = set.settings(w)
        if (has('admin') !== Number(values[setting]))
            say(w, 'ports.admin', `is ${has('admin')}, but ${setting} is ${values[setting]}`)
        if (name === 'producer' && has('intake') !== Number(values.WEBHOOK_PORT))
            say(w, 'ports.intake', `is ${has('intake')}, but WEBHOOK_PORT is ${values.WEBHOOK_PORT}`)
    }
}

function probes(set, say) {
    const paths = { startupProbe: '/startupz', livenessProbe: '/livez', readinessProbe: '/readyz' }
    for (const w of set.of('Deployment', 'StatefulSet'))
        for (const c of podOf(w).containers)
            for (const [probe, path] of Object.entries(paths)) {
                const p = c[probe]
                if (!p) {
                    if (probe !== 'startupProbe') say(w, probe, 'is missing')
                    continue
                }
                const { port } = p.httpGet ?? p.tcpSocket ?? {}
                if (!(c.ports ?? []).some((x) => x.name === port)) say(w, `${probe}.port`, `no port named ${port}`)
                if (!/^hookline-/.test(runs(c))) continue
                if (p.httpGet?.path !== path) say(w, `${probe}.path`, `is ${p.httpGet?.path}, not ${path}`)
                if (port !== 'admin') say(w, `${probe}.port`, `is ${port}, not admin`)
            }
}

// What must exist: here, or, of Secrets, in README.md, which says how they are made.
function references(set, say) {
    const documented = text('README.md').match(/^## Kubernetes$[^]*?^## /m)?.[0] ?? ''
    const secret = (object, field, name, keys) => {
        for (const word of [name, ...keys])
            if (!documented.includes(`\`${word}\``)) say(object, field, `README.md does not say what ${word} is`)
    }
    const config = (object, field, name, keys) => {
        const map = set.get('ConfigMap', name)
        if (!map) return say(object, field, `there is no ConfigMap/${name}`)
        for (const k of keys) if (!(k in (map.data ?? {}))) say(object, field, `ConfigMap/${name} has no key ${k}`)
    }
    const keysOf = (source) => (source.items ?? []).map((i) => i.key)
    for (const w of set.workloads) {
        const pod = podOf(w), claims = (w.spec.volumeClaimTemplates ?? []).map((c) => c.metadata.name)
        const volumes = [...(pod.volumes ?? []).map((v) => v.name), ...claims]
        const mounts = containersOf(w).flatMap((c) => (c.volumeMounts ?? []).map((m) => m.name))
        for (const m of mounts) if (!volumes.includes(m)) say(w, 'volumeMounts', `there is no volume ${m}`)
        for (const v of volumes) if (!mounts.includes(v)) say(w, 'volumes', `${v} is mounted nowhere`)
        for (const v of pod.volumes ?? []) {
            if (v.secret) secret(w, `volumes.${v.name}`, v.secret.secretName, keysOf(v.secret))
            if (v.configMap) config(w, `volumes.${v.name}`, v.configMap.name, keysOf(v.configMap))
        }
        for (const c of containersOf(w))
            for (const from of c.envFrom ?? [])
                if (from.configMapRef) config(w, `${c.name}.envFrom`, from.configMapRef.name, [])
        if (!set.outside && !set.get('ServiceAccount', pod.serviceAccountName))
            say(w, 'serviceAccountName', `there is no ServiceAccount/${pod.serviceAccountName}`)
    }
    for (const t of set.of('TriggerAuthentication'))
        for (const r of t.spec.secretTargetRef ?? []) secret(t, 'spec.secretTargetRef', r.name, [r.key])
    for (const i of set.of('Ingress')) {
        const secured = (i.spec.tls ?? []).flatMap((t) => t.hosts ?? [])
        for (const t of i.spec.tls ?? []) secret(i, 'spec.tls.secretName', t.secretName, [])
        for (const r of i.spec.rules) if (!secured.includes(r.host)) say(i, 'spec.tls', `${r.host} is without TLS`)
    }
}

// Every name is a setting, no secret stands in the environment, and the program itself takes the values.
function settings(set, say) {
    for (const w of set.workloads)
        for (const c of containersOf(w)) {
            const values = set.environment(w, c)
            for (const e of c.env ?? [])
                if (e.valueFrom) say(w, `${c.name}.env.${e.name}`, 'take it from a file (NAME_FILE), not valueFrom')
            for (const from of c.envFrom ?? [])
                if (from.secretRef) say(w, `${c.name}.envFrom`, 'a Secret in the environment; mount it as files')
            if (!/^hookline/.test(runs(c))) continue
            for (const [name, value] of Object.entries(values)) {
                const known = set.program.settings[name.replace(/_FILE$/, '')]
                const field = `${c.name}.env.${name}`
                if (!known) say(w, field, 'is no setting')
                else if (!name.endsWith('_FILE') && (known.secret || /:\/\/[^/]*:[^/]*@/.test(value)))
                    say(w, field, 'is a secret: give a file (NAME_FILE)')
                else if (name.endsWith('_FILE') && !set.mounts(w, c, value))
                    say(w, field, `no Secret is mounted that has ${value}`)
            }
            for (const fault of set.program.faults(runs(c), values)) say(w, `${c.name}.env`, fault)
        }
}

function grace(set, say) {
    // What README.md allows each program besides what the settings say (section "Run").
    const needs = {
        producer: (v) => seconds(v.WEBHOOK_DRAIN_DELAY ?? 0) + seconds(v.WEBHOOK_HEADER_TIMEOUT) +
            seconds(v.WEBHOOK_BODY_TIMEOUT) + 10,
        worker: (v) => seconds(v.WEBHOOK_DRAIN_TIMEOUT) + 16,
    }
    for (const [name, need] of Object.entries(needs)) {
        const w = set.component(name), values = set.settings(w)
        const preStop = Math.max(...podOf(w).containers.map((c) => c.lifecycle?.preStop?.sleep?.seconds ?? 0))
        const given = podOf(w).terminationGracePeriodSeconds - preStop, told = seconds(values.WEBHOOK_TERMINATION_GRACE)
        if (given !== told)
            say(w, 'terminationGracePeriodSeconds', `leaves ${given} s, but WEBHOOK_TERMINATION_GRACE is ${told} s`)
        if (given < need(values) + 5)
            say(w, 'terminationGracePeriodSeconds', `leaves ${given} s, but a drain may take ${need(values)} s, and 5 s margin`)
        if (name === 'producer' && !(seconds(values.WEBHOOK_DRAIN_DELAY) >= 5))
            say(w, 'WEBHOOK_DRAIN_DELAY', 'is to be 5 s or more: endpoints hear of a leaving pod late')
    }
    const p = set.component('producer')
    if (p.kind === 'Deployment' && p.spec.strategy?.rollingUpdate?.maxUnavailable !== 0)
        say(p, 'spec.strategy.rollingUpdate.maxUnavailable', 'must be 0: intake loses nobody while it rolls')
}

function security(set, say) {
    const volumes = ['configMap', 'secret', 'emptyDir', 'persistentVolumeClaim', 'projected']
    for (const w of set.workloads) {
        const pod = podOf(w)
        const want = (field, is, what) => { if (is !== what) say(w, field, `must be ${JSON.stringify(what)}`) }
        want('automountServiceAccountToken', pod.automountServiceAccountToken, false)
        want('enableServiceLinks', pod.enableServiceLinks, false)
        want('securityContext.runAsNonRoot', pod.securityContext?.runAsNonRoot, true)
        want('securityContext.seccompProfile.type', pod.securityContext?.seccompProfile?.type, 'RuntimeDefault')
        if (!(pod.securityContext?.runAsUser > 0)) say(w, 'securityContext.runAsUser', 'must be a user, not root')
        for (const host of ['hostNetwork', 'hostPID', 'hostIPC', 'shareProcessNamespace'])
            if (pod[host]) say(w, host, 'must not be set')
        for (const v of pod.volumes ?? [])
            if (!volumes.some((kind) => v[kind])) say(w, `volumes.${v.name}`, 'is of a kind that is not allowed')
        for (const c of containersOf(w)) {
            const s = c.securityContext ?? {}
            want(`${c.name}.allowPrivilegeEscalation`, s.allowPrivilegeEscalation, false)
            want(`${c.name}.readOnlyRootFilesystem`, s.readOnlyRootFilesystem, true)
            want(`${c.name}.capabilities.drop`, s.capabilities?.drop?.join(), 'ALL')
            if (s.privileged || s.capabilities?.add) say(w, `${c.name}.securityContext`, 'must not add rights')
            for (const [kind, what] of [['requests', 'cpu'], ['requests', 'memory'], ['limits', 'memory']])
                if (!c.resources?.[kind]?.[what]) say(w, `${c.name}.resources.${kind}.${what}`, 'is missing')
            if (!/:[^/]+$/.test(c.image) || /:latest$/.test(c.image)) say(w, `${c.name}.image`, `${c.image} has no release`)
        }
    }
    for (const a of set.of('ServiceAccount'))
        if (a.automountServiceAccountToken !== false) say(a, 'automountServiceAccountToken', 'must be false')
    for (const n of set.of('Namespace'))
        if (n.metadata.labels?.['pod-security.kubernetes.io/enforce'] !== 'restricted')
            say(n, 'metadata.labels', 'pod-security.kubernetes.io/enforce must be restricted')
    for (const s of set.of('Secret')) say(s, 'kind', 'no secret belongs into this repository')
}

function metadata(set, say) {
    for (const o of set.list) {
        for (const l of ['name', 'part-of'])
            if (o.metadata.labels?.[LABEL + l] !== 'hookline') say(o, 'metadata.labels', `${LABEL}${l} must be hookline`)
        if (!clusterScoped.includes(o.kind) && o.metadata.namespace !== 'hookline')
            say(o, 'metadata.namespace', `is ${o.metadata.namespace}, not hookline`)
    }
    for (const w of set.workloads)
        if (!labelsOf(w)[LABEL + 'component']) say(w, 'template.metadata.labels', `${LABEL}component is missing`)
}

function memory(set, say) {
    const producer = set.component('producer'), worker = set.component('worker')
    const limit = (w) => bytes(podOf(w).containers[0].resources?.limits?.memory ?? '0')
    const p = set.settings(producer), w = set.settings(worker)
    // two of a fleet's processes at their largest, the solo process, and a successor beside them
    if (limit(worker) < (Number(w.WEBHOOK_WORKERS) + 2) * bytes(w.WEBHOOK_MAX_RSS))
        say(worker, 'resources.limits.memory', `is less than WEBHOOK_MAX_RSS (${w.WEBHOOK_MAX_RSS}) for the workers, solo and a successor`)
    // each buffers bodies, and reads one of the largest: twice its size in memory
    const each = bytes(p.WEBHOOK_MAX_BUFFERED_BYTES) + 3 * bytes(p.WEBHOOK_CRAWL_MAX_BODY_BYTES)
    if (limit(producer) < Number(p.WEBHOOK_PRODUCERS) * each)
        say(producer, 'resources.limits.memory', 'is less than what the processes may buffer (WEBHOOK_MAX_BUFFERED_BYTES) and read')

    const pod = podOf(producer), c = pod.containers[0]
    const mount = c.volumeMounts.find((m) => p.WEBHOOK_SPOOL_DIR.startsWith(m.mountPath + '/'))
    if (!mount) return say(producer, 'volumeMounts', `no volume holds WEBHOOK_SPOOL_DIR (${p.WEBHOOK_SPOOL_DIR})`)
    const scratch = pod.volumes.find((v) => v.name === mount.name)?.emptyDir
    const claim = (producer.spec.volumeClaimTemplates ?? []).find((v) => v.metadata.name === mount.name)
    const size = bytes(scratch ? scratch.sizeLimit ?? 0 : claim.spec.resources.requests.storage)
    if (size < 1.25 * bytes(p.WEBHOOK_SPOOL_MAX_BYTES))
        say(producer, `volumes.${mount.name}`, `is too small for WEBHOOK_SPOOL_MAX_BYTES (${p.WEBHOOK_SPOOL_MAX_BYTES}) and a quarter`)
    if (scratch && bytes(c.resources.limits['ephemeral-storage'] ?? 0) < size)
        say(producer, 'resources.limits.ephemeral-storage', 'is less than the spool\'s emptyDir: the pod would be evicted')
}

const KEYS = { // of triggers: their metadata has no schema
    'redis-streams': ['address', 'host', 'port', 'stream', 'consumerGroup', 'lagCount', 'activationLagCount',
        'databaseIndex', 'enableTLS', 'unsafeSsl'],
    prometheus: ['serverAddress', 'query', 'threshold', 'activationThreshold', 'namespace', 'customHeaders',
        'ignoreNullValues', 'queryParameters', 'unsafeSsl', 'timeout', 'authModes'],
}

function keda(set, say) {
    const protocol = text('PROTOCOL.md'), metrics = text('common/base/meter_table.h')
    for (const s of set.of('ScaledObject')) {
        const prefix = set.settings(set.component('worker')).WEBHOOK_QUEUE_PREFIX
        for (const queue of ['change', 'crawl'])
            if (!s.spec.triggers.some((t) => t.metadata.stream === `{${prefix}}:q:${queue}`))
                say(s, 'spec.triggers.stream', `none looks at {${prefix}}:q:${queue}`)
        s.spec.triggers.forEach((t, i) => {
            const field = `spec.triggers[${i}]`, keys = KEYS[t.type]
            if (!keys) return say(s, `${field}.type`, `${t.type} is not known here`)
            for (const k of Object.keys(t.metadata))
                if (!keys.includes(k)) say(s, `${field}.metadata.${k}`, `is no key of ${t.type}`)
            if (t.authenticationRef && !set.get('TriggerAuthentication', t.authenticationRef.name))
                say(s, `${field}.authenticationRef`, `there is no TriggerAuthentication/${t.authenticationRef.name}`)
            if (t.type === 'redis-streams') {
                const { stream, consumerGroup } = t.metadata, queue = stream?.split(':').at(-1)
                const group = protocol.match(`\\| \`\\{hookline\\}:q:${queue}\` \\| stream, group \`(\\w+)\``)?.[1]
                if (stream !== `{${prefix}}:q:${queue}` || !group) say(s, `${field}.metadata.stream`, `${stream} is no queue`)
                else if (consumerGroup !== group) say(s, `${field}.metadata.consumerGroup`, `is ${consumerGroup}, not ${group}`)
                if (!t.metadata.lagCount) say(s, `${field}.metadata.lagCount`, 'is missing')
            } else
                for (const m of t.metadata.query?.match(/hookline_\w+/g) ?? [])
                    if (!metrics.includes(`"${m}"`)) say(s, `${field}.metadata.query`, `${m} is no metric`)
        })
        if (!s.spec.fallback) say(s, 'spec.fallback', 'is missing')
        if (!s.spec.triggers.some((t) => t.type === 'prometheus')) say(s, 'spec.triggers', 'none asks Prometheus')
    }
}

function alerts(set, say) {
    for (const r of set.of('PrometheusRule')) {
        const jobs = set.of('ServiceMonitor').flatMap((m) => m.spec.endpoints).flatMap((e) => e.relabelings ?? [])
            .filter((x) => x.targetLabel === 'job').map((x) => x.replacement)
        const named = JSON.stringify(r.spec).matchAll(/job=\\"([^"\\]+)\\"/g)
        for (const job of new Set([...named].map((m) => m[1])))
            if (!jobs.includes(job)) say(r, 'spec.groups', `the job ${job} is of no ServiceMonitor's`)
    }
}

function release(set, say) {
    const version = text('Makefile').match(/^VERSION\s*:=\s*(\S+)/m)[1]
    for (const w of set.workloads)
        for (const c of containersOf(w).filter((x) => /^hookline/.test(runs(x))))
            if (!c.image.endsWith(':' + version)) say(w, `${c.name}.image`, `${c.image} is not of this release, ${version}`)
}

function migration(set, say) {
    for (const j of set.of('Job').filter((x) => x.metadata.name)) {
        const [c] = podOf(j).containers, release = c.image.split(':').at(-1)
        if (!j.metadata.name.endsWith('-' + release.replaceAll('.', '-')))
            say(j, 'metadata.name', `does not end in its release ${release}: a Job cannot be changed, only another one made`)
        if (c.envFrom) say(j, `${c.name}.envFrom`, 'a ConfigMap that changes would change the Job, which cannot be')
        if (j.spec.ttlSecondsAfterFinished === undefined) say(j, 'spec.ttlSecondsAfterFinished', 'is missing')
    }
    for (const name of ['producer', 'worker']) {
        const w = set.component(name)
        if (!(podOf(w).initContainers ?? []).some((c) => c.command?.includes('--await')))
            say(w, 'initContainers', 'none waits for the migration (hooklinectl migrate --await)')
    }
}

// Who may talk to whom: nobody, but as the policies say; and they say all that the settings ask for.
function network(set, say) {
    const policies = set.of('NetworkPolicy'), rules = (w, way) => policies
        .filter((n) => matches(n.spec.podSelector, labelsOf(w)) && n.spec.policyTypes.includes(way))
        .flatMap((n) => n.spec[way.toLowerCase()] ?? [])
    const open = (w, way, port) => rules(w, way).filter((r) => (r.ports ?? []).some((p) => p.port === port))
    const out = (w, port, what) => {
        if (!open(w, 'Egress', port).length) say(w, 'NetworkPolicy', `no egress to ${what} (${port})`)
    }
    const denied = policies.find((n) => !Object.keys(n.spec.podSelector).length && !n.spec.ingress && !n.spec.egress)
    for (const way of ['Ingress', 'Egress'])
        if (!denied?.spec.policyTypes.includes(way)) say(denied ?? set.list[0], 'spec.policyTypes', `${way} is not denied by default`)
    for (const n of policies) {
        for (const way of ['ingress', 'egress'])
            if (n.spec[way] && !n.spec.policyTypes.some((t) => t.toLowerCase() === way)) say(n, 'spec.policyTypes', `lacks ${way}`)
        for (const r of [...(n.spec.ingress ?? []), ...(n.spec.egress ?? [])])
            if (!r.ports?.length || !(r.from ?? r.to)?.length) say(n, 'spec', 'a rule without ports or peers lets everything')
    }
    const producer = set.component('producer'), worker = set.component('worker')
    for (const w of set.workloads) {
        out(w, 53, 'DNS')
        out(w, 5432, 'PostgreSQL')
    }
    for (const w of [producer, worker]) {
        out(w, 6379, 'Redis')
        if (set.of('ServiceMonitor').length && !open(w, 'Ingress', 'admin').length)
            say(w, 'NetworkPolicy', 'Prometheus does not reach the port admin')
        const { OTEL_EXPORTER_OTLP_ENDPOINT: otlp } = set.settings(w)
        if (otlp) out(w, Number(new URL(otlp).port), 'the collector of OTEL_EXPORTER_OTLP_ENDPOINT')
        else if (open(w, 'Egress', 4318).length) say(w, 'NetworkPolicy', 'egress to 4318, but OTEL_EXPORTER_OTLP_ENDPOINT is not set')
    }
    if (!open(producer, 'Ingress', 'intake').length) say(producer, 'NetworkPolicy', 'nobody reaches the port intake')
    const { WEBHOOK_SCRAPER: scraper, WEBHOOK_FIRECRAWL_API_URL: firecrawl } = set.settings(worker)
    out(worker, Number(new URL(firecrawl).port || 80), 'WEBHOOK_FIRECRAWL_API_URL')
    for (const w of set.workloads) {
        const internet = rules(w, 'Egress').some((r) => r.to?.some((t) => t.ipBlock?.cidr.endsWith('/0')))
        if (internet !== (w === worker && scraper === 'direct'))
            say(w, 'NetworkPolicy', `egress to the internet is ${internet ? 'open' : 'closed'}, with WEBHOOK_SCRAPER=${scraper}`)
    }
}

function connections(set, say) {
    for (const { object, field, fault } of budget.faults(set)) say(object, field, fault)
}

// Those that hold of any object, and those that take a whole installation.
const ANY = { references, settings, security, metadata, release }
const WHOLE = { selectors, scaling, ports, probes, grace, memory, keda, alerts, migration, network, connections }

export function check(set) {
    const findings = []
    const say = (object, field, fault) => findings.push(`${nameOf(object)}: ${field}: ${fault}`)
    for (const rule of Object.values(set.outside ? ANY : { ...ANY, ...WHOLE }))
        try { rule(set, say) } catch (e) { findings.push(`${rule.name}: ${e.message}`) } // an object lacks what it reads
    return findings
}
