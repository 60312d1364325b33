// make manifests-check: renders deploy/kubernetes with kubectl kustomize and checks what comes out, then shows
// by mutations that it would notice. Runs at the top of the repository; argument: hooklinectl.
import fs from 'node:fs'
import path from 'node:path'
import { execFileSync } from 'node:child_process'
import { Objects, nameOf, parse, podOf, render } from './objects.mjs'
import { Program } from './program.mjs'
import { validate } from './schema.mjs'
import { check } from './rules.mjs'
import { tell } from './budget.mjs'
import { mutations } from './mutations.mjs'

const KUBERNETES = 'deploy/kubernetes', COMBINATIONS = 'tests/manifests/combinations'

class Rendered extends Objects {
    constructor(name, list, program, outside = false) {
        super(list)
        Object.assign(this, { name, program, outside })
    }
    environment(workload, container) {
        const maps = (container.envFrom ?? []).map((f) => this.get('ConfigMap', f.configMapRef?.name)?.data)
        const own = (container.env ?? []).filter((e) => 'value' in e).map((e) => [e.name, e.value])
        return Object.assign({}, ...maps, Object.fromEntries(own))
    }
    settings(workload) { // of its first container, as the program has them
        return this.program.values(this.environment(workload, podOf(workload).containers[0]))
    }
    mounts(workload, container, file) { // a Secret, with that file in it
        return (container.volumeMounts ?? []).some((m) => {
            const source = podOf(workload).volumes?.find((v) => v.name === m.name)?.secret
            return (source?.items ?? []).some((i) => path.join(m.mountPath, i.path) === file)
        })
    }
    copy() { return new Rendered(this.name, structuredClone(this.list), this.program, this.outside) }
}

function kustomizations() {
    const under = (folder) => fs.readdirSync(folder, { withFileTypes: true })
        .filter((d) => d.isDirectory()).map((d) => path.join(folder, d.name))
    return [path.join(KUBERNETES, 'base'), ...under(path.join(KUBERNETES, 'overlays')), ...under(COMBINATIONS)]
}

// Schemas and rules; entries of one run of the compiler: id -> set of findings
async function findings(sets) {
    const entries = new Map(), owners = new Map()
    for (const [name, set] of sets)
        for (const object of set.list) {
            const key = JSON.stringify(object)
            if (!entries.has(key)) entries.set(key, { id: key, object })
            owners.set(key, [...(owners.get(key) ?? []), [name, nameOf(object)]])
        }
    const found = new Map([...sets].map(([name, set]) => [name, check(set)]))
    for (const [key, texts] of await validate([...entries.values()]))
        for (const [name, object] of owners.get(key))
            found.get(name).push(...texts.map((t) => `${object}: ${t}`))
    return found
}

function mutated(sets) {
    return new Map(mutations.filter((m) => sets.has(m.of)).map((m) => {
        const set = sets.get(m.of).copy()
        m.change(set)
        return [m.name, set]
    }))
}

const program = new Program(process.argv[2])
process.on('exit', () => program.release())
const sets = new Map()
let bad = 0
const fail = (text) => { bad++; console.log(text) }
for (const folder of kustomizations())
    try { sets.set(folder, new Rendered(folder, render(folder), program)) } catch (e) {
        fail(`${folder}: does not render: ${String(e.stderr ?? e.message).trim()}`)
    }
const job = `${KUBERNETES}/spool-push/job.yaml`
sets.set(job, new Rendered(job, parse(fs.readFileSync(job, 'utf8')), program, true))
const wrong = mutated(sets)
const found = await findings(new Map([...sets, ...wrong]))

for (const [name, set] of sets) {
    for (const text of found.get(name)) fail(`${name}: ${text}`)
    if (!found.get(name).length)
        console.log(`ok  ${name}: ${set.list.length} objects${set.outside ? '' : `; ${tell(set)}`}`)
}
for (const m of mutations.filter((x) => wrong.has(x.name)))
    if (!found.get(m.name).some((t) => m.refusal.test(t)))
        fail(`not refused as ${m.refusal}: ${m.name}; found: ${found.get(m.name).join(' | ') || 'nothing'}`)
if (execFileSync('tests/manifests/rules.sh', { encoding: 'utf8' }) !==
    fs.readFileSync(`${KUBERNETES}/components/monitoring/prometheusrule.yaml`, 'utf8'))
    fail('components/monitoring/prometheusrule.yaml is not what deploy/prometheus/hookline.rules.yml makes: make manifests')
if (/"resolved"|registry/.test(fs.readFileSync('tests/manifests/package-lock.json', 'utf8')))
    fail('tests/manifests/package-lock.json names a registry')
console.log(bad ? `${bad} findings` : `${sets.size} renderings fit, ${mutations.length} mutations of them are refused`)
process.exit(bad ? 1 : 0)
