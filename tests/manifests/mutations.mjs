// Single mistakes, each of which must be refused, with a message that names the object and the field. The
// first ones are for the schemas, the others for what no schema sees.
import { containersOf, podOf } from './objects.mjs'

const PRODUCTION = 'deploy/kubernetes/overlays/production', BASE = 'deploy/kubernetes/base'
const ALL = 'tests/manifests/combinations/all', DEV = 'deploy/kubernetes/overlays/dev'

const get = (kind, name) => (set) => set.get(kind, name)
const producer = get('Deployment', 'hookline-producer'), worker = get('Deployment', 'hookline-worker')
const claims = get('StatefulSet', 'hookline-producer')
const hpa = get('HorizontalPodAutoscaler', 'hookline-producer'), scaled = get('ScaledObject', 'hookline-worker')
const job = (set) => set.of('Job')[0]
const policy = (name) => get('NetworkPolicy', name)
const main = (workload) => podOf(workload).containers[0]
const config = (set, name) => set.of('ConfigMap').find((c) => c.metadata.name.startsWith(name)).data
const settings = { producer: 'hookline-producer-', worker: 'hookline-worker-' }

// [name, rendering, what is changed, the refusal]
const table = [
    // fields and types, which the schemas see
    ['an unknown field', BASE, (s) => { worker(s).spec.replicaz = 3 }, /^Deployment\/hookline-worker: .*replicaz/],
    ['an unknown field, deep', BASE, (s) => { main(producer(s)).readinesProbe = {} }, /^Deployment\/hookline-producer: .*readinesProbe/],
    ['an unknown field of a probe', BASE, (s) => { main(worker(s)).livenessProbe.httpGet.pathh = '/' }, /^Deployment\/hookline-worker: .*pathh/],
    ['an unknown field of an HPA', BASE, (s) => { hpa(s).spec.metrics[0].resource.target.averageUtilisation = 70 }, /^HorizontalPodAutoscaler\/hookline-producer: .*averageUtilisation/],
    ['an unknown field of a ScaledObject', PRODUCTION, (s) => { scaled(s).spec.maxReplicasCount = 4 }, /^ScaledObject\/hookline-worker: .*maxReplicasCount/],
    ['an unknown field of a ServiceMonitor', PRODUCTION, (s) => { s.of('ServiceMonitor')[0].spec.endpoints[0].intervall = '15s' }, /^ServiceMonitor\/hookline-\w+: .*intervall/],
    ['an unknown field of a PrometheusRule', PRODUCTION, (s) => { s.of('PrometheusRule')[0].spec.groups[0].rules[0].labells = {} }, /^PrometheusRule\/hookline: .*labells/],
    ['a wrong type', BASE, (s) => { worker(s).spec.replicas = '2' }, /^Deployment\/hookline-worker: .*replicas/],
    ['a number where KEDA wants text', PRODUCTION, (s) => { scaled(s).spec.triggers[0].metadata.lagCount = 128 }, /^ScaledObject\/hookline-worker: .*lagCount/],
    ['no selector', BASE, (s) => { delete worker(s).spec.selector }, /^Deployment\/hookline-worker: .*selector/],
    ['no triggers', PRODUCTION, (s) => { delete scaled(s).spec.triggers }, /^ScaledObject\/hookline-worker: .*triggers/],
    ['a word that is none of those allowed', BASE, (s) => { job(s).spec.template.spec.restartPolicy = 'Sometimes' }, /^Job\/hookline-migrate-\S+: .*restartPolicy/],
    ['a quantity that is none', BASE, (s) => { main(worker(s)).resources.limits.memory = '128Mb' }, /^Deployment\/hookline-worker: .*memory/],
    ['an unknown apiVersion', BASE, (s) => { hpa(s).apiVersion = 'autoscaling/v2beta9' }, /^HorizontalPodAutoscaler\/hookline-producer: apiVersion/],

    // selectors and names
    ['a selector beside the labels', BASE, (s) => { worker(s).spec.selector.matchLabels['app.kubernetes.io/component'] = 'wroker' }, /^Deployment\/hookline-worker: spec.selector: does not match/],
    ['a Service that selects nothing', BASE, (s) => { s.get('Service', 'hookline-producer').spec.selector['app.kubernetes.io/component'] = 'intake' }, /^Service\/hookline-producer: spec.selector: .*matches 0/],
    ['a Service that selects too much', BASE, (s) => { s.get('Service', 'hookline-producer').spec.selector = { 'app.kubernetes.io/name': 'hookline' } }, /^Service\/hookline-producer: spec.selector: .*matches 3/],
    ['a budget for nothing', BASE, (s) => { s.get('PodDisruptionBudget', 'hookline-worker').spec.selector.matchLabels['app.kubernetes.io/name'] = 'hook' }, /^PodDisruptionBudget\/hookline-worker: spec.selector/],
    ['a budget that lets no node be drained', BASE, (s) => { s.get('PodDisruptionBudget', 'hookline-worker').spec.maxUnavailable = 0 }, /^PodDisruptionBudget\/hookline-worker: spec.maxUnavailable/],
    ['a policy for nobody', BASE, (s) => { policy('hookline-firecrawl')(s).spec.podSelector.matchLabels['app.kubernetes.io/component'] = 'x' }, /^NetworkPolicy\/hookline-firecrawl: spec.podSelector/],
    ['a policy whose peer is nobody', ALL, (s) => { policy('hookline-to-pgbouncer')(s).spec.egress[0].to[0].podSelector.matchLabels = { a: 'b' } }, /^NetworkPolicy\/hookline-to-pgbouncer: podSelector of a peer/],
    ['a spread of other pods', BASE, (s) => { podOf(worker(s)).topologySpreadConstraints[0].labelSelector.matchLabels = { a: 'b' } }, /^Deployment\/hookline-worker: topologySpreadConstraints/],
    ['a monitor of nothing', PRODUCTION, (s) => { s.get('ServiceMonitor', 'hookline-worker').spec.selector.matchLabels['hookline/port'] = 'metrics' }, /^ServiceMonitor\/hookline-worker: spec.selector/],
    ['an HPA of something else', PRODUCTION, (s) => { hpa(s).spec.scaleTargetRef.kind = 'Deployment' }, /^HorizontalPodAutoscaler\/hookline-producer: spec.scaleTargetRef/],
    ['a ScaledObject of something else', PRODUCTION, (s) => { scaled(s).spec.scaleTargetRef.name = 'hookline' }, /^ScaledObject\/hookline-worker: spec.scaleTargetRef/],
    ['replicas that somebody else has', PRODUCTION, (s) => { worker(s).spec.replicas = 2 }, /^Deployment\/hookline-worker: spec.replicas/],
    ['no worker at all', PRODUCTION, (s) => { scaled(s).spec.minReplicaCount = 0 }, /^ScaledObject\/hookline-worker: spec.minReplicaCount/],
    ['a StatefulSet without its Service', PRODUCTION, (s) => { claims(s).spec.serviceName = 'hookline-producer' }, /^StatefulSet\/hookline-producer: spec.serviceName/],

    // ports and probes
    ['a port that no container has', BASE, (s) => { s.get('Service', 'hookline-producer').spec.ports[0].targetPort = 'http' }, /^Service\/hookline-producer: spec.ports.targetPort/],
    ['another port than the program listens on', BASE, (s) => { config(s, settings.producer).WEBHOOK_PRODUCER_ADMIN_PORT = '52112' }, /^Deployment\/hookline-producer: ports.admin: is 52111/],
    ['a probe of a port that is not there', BASE, (s) => { main(worker(s)).readinessProbe.httpGet.port = 'health' }, /^Deployment\/hookline-worker: readinessProbe.port/],
    ['a liveness probe that outages fail', BASE, (s) => { main(worker(s)).livenessProbe.httpGet.path = '/readyz' }, /^Deployment\/hookline-worker: livenessProbe.path/],
    ['an Ingress to nowhere', PRODUCTION, (s) => { s.of('Ingress')[0].spec.rules[0].http.paths[0].backend.service.name = 'hookline' }, /^Ingress\/hookline: spec.rules.backend/],
    ['a host without TLS', PRODUCTION, (s) => { s.of('Ingress')[0].spec.tls[0].hosts = [] }, /^Ingress\/hookline: spec.tls/],
    ['a monitor of a port without a name', PRODUCTION, (s) => { s.of('ServiceMonitor')[0].spec.endpoints[0].port = 'metrics' }, /^ServiceMonitor\/\S+: spec.endpoints.port/],

    // what is referred to
    ['a ConfigMap that is not there', BASE, (s) => { main(worker(s)).envFrom[0].configMapRef.name = 'hookline' }, /^Deployment\/hookline-worker: worker.envFrom: there is no ConfigMap/],
    ['a key that nobody documents', BASE, (s) => { podOf(worker(s)).volumes[0].secret.items[0].key = 'db-url' }, /^Deployment\/hookline-worker: volumes.secrets: README.md does not say what db-url/],
    ['a file that no Secret has', BASE, (s) => { podOf(worker(s)).volumes[0].secret.items.shift() }, /^Deployment\/hookline-worker: worker.env.WEBHOOK_DATABASE_URL_FILE: no Secret/],
    ['a volume that is not there', BASE, (s) => { main(producer(s)).volumeMounts[0].name = 'data' }, /^Deployment\/hookline-producer: volumeMounts: there is no volume data/],

    // settings
    ['a setting that is none', BASE, (s) => { config(s, settings.worker).WEBHOOK_WORKER_COUNT = '2' }, /^Deployment\/hookline-worker: worker.env.WEBHOOK_WORKER_COUNT: is no setting/],
    ['a value that the program refuses', BASE, (s) => { config(s, settings.worker).WEBHOOK_SCRAPER = 'curl' }, /^Deployment\/hookline-worker: worker.env: WEBHOOK_SCRAPER/],
    ['a secret that the producer needs', BASE, (s) => { delete config(s, settings.producer).WEBHOOK_SECRET_FILE }, /^Deployment\/hookline-producer: producer.env: WEBHOOK_SECRET/],
    ['a secret in the environment', BASE, (s) => { config(s, settings.worker).WEBHOOK_FIRECRAWL_API_KEY = 'x' }, /^Deployment\/hookline-worker: worker.env.WEBHOOK_FIRECRAWL_API_KEY: is a secret/],
    ['a password in an address', BASE, (s) => { main(worker(s)).env = [{ name: 'WEBHOOK_REDIS_URL', value: 'redis://:pw@redis:6379' }] }, /^Deployment\/hookline-worker: worker.env.WEBHOOK_REDIS_URL: is a secret/],
    ['a Secret as environment', BASE, (s) => { main(worker(s)).envFrom.push({ secretRef: { name: 'hookline' } }) }, /^Deployment\/hookline-worker: worker.envFrom: a Secret/],

    // leaving, room
    ['less time to leave than is told', BASE, (s) => { podOf(worker(s)).terminationGracePeriodSeconds = 30 }, /^Deployment\/hookline-worker: terminationGracePeriodSeconds: leaves 30 s, but WEBHOOK_TERMINATION_GRACE/],
    ['less time than a drain takes', BASE, (s) => { podOf(worker(s)).terminationGracePeriodSeconds = 60; config(s, settings.worker).WEBHOOK_TERMINATION_GRACE = '60s' }, /^Deployment\/hookline-worker: terminationGracePeriodSeconds: leaves 60 s, but a drain/],
    ['producers that go before others come', BASE, (s) => { producer(s).spec.strategy.rollingUpdate.maxUnavailable = 1 }, /^Deployment\/hookline-producer: spec.strategy.rollingUpdate.maxUnavailable/],
    ['a spool larger than its volume', BASE, (s) => { config(s, settings.producer).WEBHOOK_SPOOL_MAX_BYTES = '1g' }, /^Deployment\/hookline-producer: volumes.spool: is too small/],
    ['a claim smaller than the spool', PRODUCTION, (s) => { claims(s).spec.volumeClaimTemplates[0].spec.resources.requests.storage = '512Mi' }, /^StatefulSet\/hookline-producer: volumes.spool: is too small/],
    ['memory that workers may go beyond', BASE, (s) => { main(worker(s)).resources.limits.memory = '256Mi' }, /^Deployment\/hookline-worker: resources.limits.memory/],

    // rights
    ['a writable root', BASE, (s) => { main(worker(s)).securityContext.readOnlyRootFilesystem = false }, /^Deployment\/hookline-worker: worker.readOnlyRootFilesystem/],
    ['root', BASE, (s) => { podOf(job(s)).securityContext.runAsUser = 0 }, /^Job\/\S+: securityContext.runAsUser/],
    ['no seccomp profile', BASE, (s) => { delete podOf(worker(s)).securityContext.seccompProfile }, /^Deployment\/hookline-worker: securityContext.seccompProfile/],
    ['capabilities', BASE, (s) => { delete containersOf(producer(s))[0].securityContext.capabilities }, /^Deployment\/hookline-producer: await-schema.capabilities.drop/],
    ['a token of the service account', BASE, (s) => { podOf(worker(s)).automountServiceAccountToken = true }, /^Deployment\/hookline-worker: automountServiceAccountToken/],
    ['an unrestricted namespace', BASE, (s) => { delete s.of('Namespace')[0].metadata.labels['pod-security.kubernetes.io/enforce'] }, /^Namespace\/hookline: metadata.labels/],
    ['no limit of memory', BASE, (s) => { delete main(producer(s)).resources.limits.memory }, /^Deployment\/hookline-producer: producer.resources.limits.memory/],
    ['an image of no release', BASE, (s) => { main(worker(s)).image = 'hookline:latest' }, /^Deployment\/hookline-worker: worker.image/],
    ['a secret in the repository', BASE, (s) => { s.list.push({ apiVersion: 'v1', kind: 'Secret', metadata: { name: 'hookline' } }) }, /^Secret\/hookline: kind/],

    // KEDA, alerts, the migration
    ['an unknown key of a trigger', PRODUCTION, (s) => { scaled(s).spec.triggers[0].metadata.lagcount = '5' }, /^ScaledObject\/hookline-worker: spec.triggers\[0\].metadata.lagcount/],
    ['another stream', PRODUCTION, (s) => { scaled(s).spec.triggers[1].metadata.stream = 'hookline:q:crawl' }, /^ScaledObject\/hookline-worker: spec.triggers\[1\].metadata.stream/],
    ['another group', PRODUCTION, (s) => { scaled(s).spec.triggers[0].metadata.consumerGroup = 'hookline' }, /^ScaledObject\/hookline-worker: spec.triggers\[0\].metadata.consumerGroup/],
    ['a metric that nobody has', PRODUCTION, (s) => { scaled(s).spec.triggers[2].metadata.query = 'max(hookline_queue_age_seconds)' }, /^ScaledObject\/hookline-worker: spec.triggers\[2\].metadata.query/],
    ['a TriggerAuthentication that is not there', PRODUCTION, (s) => { scaled(s).spec.triggers[0].authenticationRef.name = 'redis' }, /^ScaledObject\/hookline-worker: spec.triggers\[0\].authenticationRef/],
    ['jobs that alerts do not know', PRODUCTION, (s) => { s.get('ServiceMonitor', 'hookline-worker').spec.endpoints[0].relabelings[0].replacement = 'worker' }, /^PrometheusRule\/hookline: spec.groups: the job hookline-worker/],
    ['a Job of another release', BASE, (s) => { job(s).metadata.name = 'hookline-migrate' }, /^Job\/hookline-migrate: metadata.name/],
    ['a Job that a setting would change', BASE, (s) => { main(job(s)).envFrom = [{ configMapRef: { name: s.of('ConfigMap')[0].metadata.name } }] }, /^Job\/\S+: migrate.envFrom/],
    ['two releases at once', BASE, (s) => { main(worker(s)).image = 'hookline:0.0.9' }, /^Deployment\/hookline-worker: worker.image: hookline:0.0.9 is not of this release/],

    // who may talk to whom
    ['no default', BASE, (s) => { policy('default-deny')(s).spec.policyTypes = ['Ingress'] }, /^NetworkPolicy\/default-deny: spec.policyTypes: Egress/],
    ['no way to Redis', BASE, (s) => { policy('hookline-redis')(s).spec.egress[0].ports[0].port = 6380 }, /^Deployment\/hookline-\w+: NetworkPolicy: no egress to Redis/],
    ['no way for the migration', BASE, (s) => { policy('hookline-postgresql')(s).spec.podSelector.matchExpressions[0].values = ['producer', 'worker'] }, /^Job\/\S+: NetworkPolicy: no egress to PostgreSQL/],
    ['the internet for nothing', DEV, (s) => { config(s, settings.worker).WEBHOOK_SCRAPER = 'firecrawl' }, /^Deployment\/hookline-worker: NetworkPolicy: egress to the internet/],
    ['direct fetches that are not let out', BASE, (s) => { config(s, settings.worker).WEBHOOK_SCRAPER = 'direct' }, /^Deployment\/hookline-worker: NetworkPolicy: egress to the internet/],
    ['a collector that is not let through', BASE, (s) => { config(s, 'hookline-').OTEL_EXPORTER_OTLP_ENDPOINT = 'http://collector:4318' }, /NetworkPolicy: no egress to the collector/],
    ['a rule for everybody', BASE, (s) => { delete policy('hookline-intake')(s).spec.ingress[0].from }, /^NetworkPolicy\/hookline-intake: spec: a rule without/],
    ['Prometheus shut out', PRODUCTION, (s) => { s.list = s.list.filter((o) => o.metadata.name !== 'hookline-prometheus') }, /NetworkPolicy: Prometheus does not reach/],

    // the connection budget
    ['pools too large at rest', PRODUCTION, (s) => { config(s, settings.worker).WEBHOOK_DB_POOL_SIZE = '20' }, /^Deployment\/hookline-worker: connections: \d+ at most, max_connections=100/],
    ['too many replicas', PRODUCTION, (s) => { scaled(s).spec.maxReplicaCount = 5 }, /^Deployment\/hookline-worker: connections: 95 at most/],
    ['a fleet as large as the node', BASE, (s) => { config(s, settings.worker).WEBHOOK_WORKERS = '0' }, /^Deployment\/hookline-worker: WEBHOOK_PRODUCERS, WEBHOOK_WORKERS/],
    ['PgBouncer with pools too large', ALL, (s) => { const c = config(s, 'hookline-pgbouncer'); c['pgbouncer.ini'] = c['pgbouncer.ini'].replace(/= 20$/gm, '= 30') }, /^Deployment\/hookline-pgbouncer: default_pool_size/],
    ['PgBouncer for too few clients', ALL, (s) => { const c = config(s, 'hookline-pgbouncer'); c['pgbouncer.ini'] = c['pgbouncer.ini'].replace('= 400', '= 100') }, /^Deployment\/hookline-pgbouncer: max_client_conn/],
    ['PgBouncer by session', ALL, (s) => { const c = config(s, 'hookline-pgbouncer'); c['pgbouncer.ini'] = c['pgbouncer.ini'].replace('= transaction', '= session') }, /^Deployment\/hookline-pgbouncer: pool_mode/],
    ['prepared statements that PgBouncer does not follow', ALL, (s) => { delete s.of('ConfigMap').find((c) => c.data?.WEBHOOK_DB_PREPARED).data.WEBHOOK_DB_PREPARED }, /WEBHOOK_DB_PREPARED: must be off/],
]

export const mutations = table.map(([name, of, change, refusal]) => ({ name, of, change, refusal }))
if (new Set(table.map(([name]) => name)).size !== table.length) throw new Error('two mutations have one name')
