// The rendered objects of one kustomization, and how to find one's way among them.
import { execFileSync } from 'node:child_process'
import { parseAllDocuments } from 'yaml'

// As kubectl reads it: YAML 1.1, in which 0440 is octal.
export function parse(text) {
    return parseAllDocuments(text, { version: '1.1', merge: true }).map((document) => {
        if (document.errors.length) throw document.errors[0]
        return document.toJS()
    }).filter(Boolean)
}

export const render = (folder) =>
    parse(execFileSync('kubectl', ['kustomize', folder], { encoding: 'utf8', maxBuffer: 1 << 26, stdio: 'pipe' }))

export const nameOf = (o) => `${o.kind}/${o.metadata?.name ?? o.metadata?.generateName}`

export class Objects {
    constructor(list) { this.list = list }
    of(...kinds) { return this.list.filter((o) => kinds.includes(o.kind)) }
    get(kind, name) { return this.list.find((o) => o.kind === kind && o.metadata.name === name) }
    get workloads() { return this.of('Deployment', 'StatefulSet', 'Job') }
    component(name) { return this.workloads.find((w) => labelsOf(w)['app.kubernetes.io/component'] === name) }
    selected(selector) { return this.workloads.filter((w) => matches(selector, labelsOf(w))) }
}

export const podOf = (workload) => workload.spec.template.spec
export const labelsOf = (workload) => workload.spec.template.metadata?.labels ?? {}
export const containersOf = (workload) => [...(podOf(workload).initContainers ?? []), ...podOf(workload).containers]
export const portsOf = (workload) => podOf(workload).containers.flatMap((c) => c.ports ?? [])
export const runs = (container) => container.command?.[0]

// A label selector; an empty one takes everything. A missing one, nothing.
export function matches(selector, labels) {
    if (!selector) return false
    const pairs = Object.entries(selector.matchLabels ?? {})
    const has = { In: (v, values) => values.includes(v), NotIn: (v, values) => !values.includes(v),
        Exists: (v) => v !== undefined, DoesNotExist: (v) => v === undefined }
    return pairs.every(([k, v]) => labels[k] === v) &&
        (selector.matchExpressions ?? []).every((e) => has[e.operator](labels[e.key], e.values))
}

// '512Mi', '1Gi' of Kubernetes, '512m', '1g' of our settings: bytes
export function bytes(text) {
    const [, number, unit] = String(text).match(/^([\d.]+)([A-Za-z]*)$/) ?? [null, NaN, '']
    return number * 1024 ** ['', 'k', 'm', 'g', 't'].indexOf(unit.replace(/i$/, '').toLowerCase())
}

export function seconds(text) { // '90', '90s', '2m', '1h', '500ms'
    const [, number, unit] = String(text).match(/^([\d.]+)(ms|s|m|h|)$/) ?? [null, NaN, '']
    return number * { ms: 0.001, s: 1, m: 60, h: 3600, '': 1 }[unit]
}
