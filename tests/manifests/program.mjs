// The real program's word on settings: `hooklinectl config`, with the environment that a container would have
// and files with secrets of ours in place of the mounted ones.
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { spawnSync } from 'node:child_process'

const SECRETS = { // by the last part of the file's name
    'database-url': 'postgresql://hookline:password@postgresql.example/hookline',
    'migrate-database-url': 'postgresql://owner:password@postgresql.example/hookline',
    'redis-url': 'redis://:password@redis.example:6379',
}

export class Program {
    constructor(ctl) {
        this.ctl = path.resolve(ctl)
        this.folder = fs.mkdtempSync(path.join(os.tmpdir(), 'manifests-'))
        this.known = new Map()
        const all = this.run({}, ['config', '--json']).settings
        this.settings = Object.fromEntries(all.map((s) => [s.name, s]))
    }

    release() { fs.rmSync(this.folder, { recursive: true }) }

    secret(name) { // a file with a value that the program takes: others for each name, as it asks for
        const file = path.join(this.folder, name)
        if (!fs.existsSync(file)) fs.writeFileSync(file, SECRETS[name] ?? `${name}-`.padEnd(48, 'x7'))
        return file
    }

    run(environment, args) {
        const env = Object.fromEntries(Object.entries(environment).map(([k, v]) =>
            [k, k.endsWith('_FILE') ? this.secret(path.basename(v)) : v]))
        const key = JSON.stringify([env, args])
        if (!this.known.has(key)) {
            const { stdout, stderr, error } = spawnSync(this.ctl, args, { env, cwd: this.folder, encoding: 'utf8' })
            if (error || !stdout.startsWith('{')) throw error ?? new Error(`${args.join(' ')}: ${stderr}`)
            this.known.set(key, JSON.parse(stdout))
        }
        return this.known.get(key)
    }

    // name -> value in effect, defaults included
    values(environment) {
        const { settings } = this.run(environment, ['config', '--json'])
        return Object.fromEntries(settings.map((s) => [s.name, s.value]))
    }

    faults(command, environment) {
        const name = command.replace(/^hookline-/, '')
        const { programs } = this.run(environment, ['config', '--check', '--for', name, '--json'])
        return programs.flatMap((p) => p.faults)
    }
}
