// Validates objects against the schemas of Kubernetes, KEDA and the Prometheus Operator. Values go through
// the models' JSON schemas. Those let unknown fields pass, so the objects also become typed constants of one
// TypeScript file, whose compiler refuses them.
import fs from 'node:fs'
import path from 'node:path'
import { execFileSync } from 'node:child_process'

const HOME = import.meta.dirname
const MODELS = ['kubernetes-models', '@kubernetes-models/keda', '@kubernetes-models/prometheus-operator']

async function modelOf(object) {
    for (const models of MODELS) {
        const module = `${models}/${object.apiVersion}/${object.kind}`
        try {
            return { module, make: (await import(module))[object.kind] }
        } catch (e) {
            if (!/MODULE_NOT_FOUND|NOT_EXPORTED|UNSUPPORTED_DIR/.test(e.code)) throw e
        }
    }
    return null
}

function compile(source) {
    const file = path.join(HOME, 'objects.ts')
    fs.writeFileSync(file, source)
    const options = ['--noEmit', '--strict', '--skipLibCheck', '--target', 'es2022', '--module', 'nodenext',
        '--moduleResolution', 'nodenext']
    try {
        execFileSync(path.join(HOME, 'node_modules/.bin/tsc'), [...options, file], { cwd: HOME })
        return []
    } catch (e) {
        if (!e.stdout?.length) throw e
        return String(e.stdout).split('\n').filter(Boolean)
    }
}

// entries: [{ id, object }]; returns a Map of the ids that have findings to their texts. One run of the
// compiler for all: that is what takes the time.
export async function validate(entries) {
    const findings = new Map(), starts = []
    const find = (id, text) => findings.set(id, [...(findings.get(id) ?? []), text])
    let imports = '', body = '', line = 0
    const add = (text) => { body += text; line += text.split('\n').length - 1 }

    for (const { id, object } of entries) {
        const model = await modelOf(object)
        if (!model) {
            find(id, `apiVersion: no schema for ${object.apiVersion} ${object.kind}`)
            continue
        }
        try { new model.make(structuredClone(object)).validate() } catch (e) { find(id, e.message) }
        starts.push({ id, line })
        imports += `import type { I${object.kind} as T${starts.length} } from ${JSON.stringify(model.module)};\n`
        add(`export const v${starts.length}: T${starts.length} = ${JSON.stringify(object, null, 1)};\n`)
    }

    const head = imports.split('\n').length - 1
    for (const message of compile(imports + body)) {
        const at = Number(message.match(/\((\d+),/)?.[1]) - 1 - head
        if (Number.isNaN(at)) {
            if (message.startsWith('error')) throw new Error(message)
            continue // goes on from the line before
        }
        find(starts.findLast((s) => s.line <= at).id, message.replace(/^.*?error /, ''))
    }
    return findings
}
