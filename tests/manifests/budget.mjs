// The connection budget: what the pods may open at PostgreSQL (or at PgBouncer, and that at PostgreSQL), with
// as many replicas as whoever scales them may make. README.md, "Kubernetes", has the formula in words.

// max_connections: at rest everything fits the first, and the second while all roll at once.
const REST = 100, ROLLING = 200
const BESIDE = 3 + 10 // superuser_reserved_connections; hooklinectl, the migration: as doctor counts

const number = (values, name) => Number(values[name])

function perPod(name, values) {
    const pool = number(values, 'WEBHOOK_DB_POOL_SIZE') + number(values, 'WEBHOOK_DB_MAX_OVERFLOW')
    if (name === 'producer')
        return number(values, 'WEBHOOK_PRODUCERS') * (pool + number(values, 'WEBHOOK_READ_CONNECTIONS'))
    return number(values, 'WEBHOOK_WORKERS') * (pool + 1) + 2 + 3 // lease; janitor; solo, with a suspect
}

function most(set, workload) { // pods, when nothing rolls
    const scaler = set.of('HorizontalPodAutoscaler', 'ScaledObject').find((s) =>
        s.spec.scaleTargetRef.name === workload.metadata.name)
    return scaler?.spec.maxReplicas ?? scaler?.spec.maxReplicaCount ?? workload.spec.replicas ?? 1
}

// A Deployment does not wait for pods that drain: each new one may stand beside an old one. A StatefulSet does.
const rolling = (workload) => (workload.kind === 'Deployment' ? 2 : 1)

export function count(set) {
    const parts = ['producer', 'worker'].map((name) => {
        const workload = set.component(name), pods = most(set, workload)
        return { name, workload, pods, each: perPod(name, set.settings(workload)) }
    })
    const sum = (times) => parts.reduce((n, p) => n + p.pods * p.each * times(p.workload), 0)
    return { parts, rest: sum(() => 1), rolling: sum(rolling) }
}

function ini(set) { // what a PgBouncer of ours may open and take, or null
    const workload = set.component('pgbouncer')
    if (!workload) return null
    const text = set.of('ConfigMap').map((c) => c.data?.['pgbouncer.ini']).find(Boolean) ?? ''
    const get = (name) => Number(text.match(new RegExp(`^${name} *= *(\\d+)$`, 'm'))?.[1])
    const mode = text.match(/^pool_mode *= *(\w+)$/m)?.[1]
    return { workload, get, mode, pods: workload.spec.replicas }
}

export function faults(set) {
    const { parts, ...clients } = count(set), found = []
    const say = (object, field, fault) => found.push({ object, field, fault })
    for (const p of parts)
        if (!(p.each > 0) || (p.name === 'producer' ? number(set.settings(p.workload), 'WEBHOOK_PRODUCERS')
            : number(set.settings(p.workload), 'WEBHOOK_WORKERS')) < 1)
            say(p.workload, 'WEBHOOK_PRODUCERS, WEBHOOK_WORKERS', 'must say how many: 0 depends on the node')
    const bouncer = ini(set), largest = [...parts].sort((a, b) => b.pods * b.each - a.pods * a.each)[0].workload
    if (!bouncer) {
        if (clients.rest > REST - BESIDE)
            say(largest, 'connections', `${clients.rest} at most, max_connections=${REST} leaves ${REST - BESIDE}`)
        if (clients.rolling > ROLLING - BESIDE)
            say(largest, 'connections', `${clients.rolling} while all roll, max_connections=${ROLLING} leaves ${ROLLING - BESIDE}`)
        return found
    }
    const opens = bouncer.pods * Math.min(bouncer.get('default_pool_size'), bouncer.get('max_db_connections'))
    if (!(opens * rolling(bouncer.workload) <= REST - BESIDE))
        say(bouncer.workload, 'default_pool_size', `${opens * rolling(bouncer.workload)} while it rolls, max_connections=${REST} leaves ${REST - BESIDE}`)
    if (!(bouncer.get('max_client_conn') >= clients.rolling))
        say(bouncer.workload, 'max_client_conn', `is less than the ${clients.rolling} that Hookline may open`)
    if (bouncer.mode !== 'transaction') say(bouncer.workload, 'pool_mode', `is ${bouncer.mode}, not transaction`)
    for (const p of parts)
        if (set.settings(p.workload).WEBHOOK_DB_PREPARED !== 'off' && !(bouncer.get('max_prepared_statements') > 0))
            say(p.workload, 'WEBHOOK_DB_PREPARED', 'must be off, or max_prepared_statements above 0 (PgBouncer 1.21)')
    return found
}

export function tell(set) {
    const { parts, rest, rolling: all } = count(set), bouncer = ini(set)
    const terms = parts.map((p) => `${p.pods} ${p.name} pods x ${p.each}`).join(' + ')
    const through = bouncer ? `; PgBouncer opens ${bouncer.pods} x ${bouncer.get('default_pool_size')}` : ''
    return `${terms} = ${rest} connections, ${all} while all roll${through}`
}
