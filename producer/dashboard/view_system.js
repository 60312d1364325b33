// System: what it is made of: processes, pools, spools, schema, settings; and how much is logged.
import { post } from './api.js';
import { action, ago, attempt, badge, bytes, facts, fault, h, heading, number, panel, table } from './ui.js';
import { queuesPanel } from './view_overview.js';

const kib = (n) => bytes(n === null || n === undefined ? null : n * 1024);
const isTime = (v) => typeof v === 'string' && /^\d{4}-\d\d-\d\dT/.test(v);

function value(v) {
    if (isTime(v)) return ago(v);
    if (typeof v === 'boolean') return v ? 'yes' : 'no';
    if (v === null || v === undefined) return '–';
    return typeof v === 'object' ? Object.entries(v).map(([k, x]) => h('div', { key: k }, h('span', { class: 'dim' }, `${k.replaceAll('_', ' ')} `), value(x))) : String(v);
}

const PROCESSES = [
    { head: 'Process', class: 'grow', sort: (p) => p.id, cell: (p) => [h('b', { class: 'cut', title: p.id }, `${p.host}:${p.pid}`), h('small', { class: 'dim cut' }, p.id)] },
    { head: 'Kind', sort: (p) => p.kind, cell: (p) => h('span', { class: 'tag' }, p.kind) },
    { head: 'Connections open', class: 'n', cell: (p) => number(p.pool?.open) },
    { head: 'Busy', class: 'n', sort: (p) => p.pool?.busy, cell: (p) => number(p.pool?.busy) },
    { head: 'Most', class: 'n', cell: (p) => number(p.pool?.max) },
    { head: 'Metrics waiting', class: 'n', sort: (p) => p.metrics?.waiting, cell: (p) => number(p.metrics?.waiting) },
    { head: 'Dropped', class: 'n', sort: (p) => p.metrics?.dropped, cell: (p) => h('span', { class: p.metrics?.dropped ? 'bad' : null }, number(p.metrics?.dropped)) },
    { head: 'Memory', class: 'n', sort: (p) => p.rss_kb, cell: (p) => kib(p.rss_kb || null) },
];

function open(page) {
    let s = null, trouble = null;
    const sort = { by: 1, down: false };

    async function setLevel(e) {
        e.preventDefault();
        const { level, minutes } = e.target.elements;
        await attempt(() => post('/api/system/log-level', { level: level.value, minutes: Number(minutes.value) }), `Every process logs ${level.value} for ${minutes.value} min.`);
    }

    function logging() {
        const l = s.log_level?.level ? s.log_level : null;
        return panel('Log', l ? badge('warn', l.level) : badge('ok', 'as set'),
            h('p', { class: 'pad' }, l ? ['Every process logs ', h('b', null, l.level), ` by order of ${l.by}; it ends `, ago(l.until), '. ']
                : 'Every process logs as its settings say.',
            l && action('log-level-end', 'End it', () => attempt(() => post('/api/system/log-level', { level: null }), 'Every process logs as its settings say.'))),
            h('form', { class: 'filters pad', onsubmit: setLevel, 'data-write': true },
                h('label', null, h('span', null, 'Level'), h('select', { name: 'level', value: 'debug' }, ['debug', 'info', 'warn', 'error'].map((x) => h('option', { value: x }, x)))),
                h('label', null, h('span', null, 'For minutes'), h('input', { name: 'minutes', type: 'number', min: '1', max: '1440', value: '10', required: true })),
                h('button', { type: 'submit', 'data-action': 'log-level' }, 'Set for all')));
    }

    function spools() {
        return panel('Spools', null, s.spools?.length ? table({ caption: 'Spools', rows: s.spools, key: (x) => x.host, cols: [
            { head: 'Host', class: 'grow', cell: (x) => x.host }, { head: 'Bytes', class: 'n', cell: (x) => bytes(x.bytes) }, { head: 'Heard of', class: 'n', cell: (x) => ago(x.seen_at) }] })
            : h('p', { class: 'dim pad' }, 'Empty: everything accepted is in PostgreSQL.'));
    }

    function schema() {
        const migrations = [...s.schema?.migrations ?? []].sort((a, b) => b.version - a.version);
        return panel('Schema', h('span', { class: 'dim' }, `version ${s.schema?.version ?? '–'}`), table({ caption: 'Migrations, the newest first', rows: migrations, key: (m) => m.version, cols: [
            { head: 'Version', class: 'n', cell: (m) => m.version }, { head: 'Name', class: 'grow', cell: (m) => m.name }, { head: 'Applied', class: 'n', cell: (m) => ago(m.applied_at) }] }));
    }

    function settings() {
        const text = typeof s.settings === 'string' ? s.settings : s.settings && JSON.stringify(s.settings, null, 2);
        return text && panel('Settings of this producer', null, h('pre', { class: 'pad', tabindex: '0' }, text));
    }

    function draw() {
        page.show(heading('System', s && h('span', { class: 'dim' }, `Hookline ${s.version}`)), trouble && fault(trouble),
            queuesPanel(page.overview()),
            s && [table({ caption: 'Processes', cols: PROCESSES, rows: s.processes ?? [], key: (p) => `${p.kind} ${p.id}`, sort, resort: draw }),
                h('div', { class: 'halves' },
                    h('div', null, logging(), spools(), s.generation && panel('Generation', null, facts(Object.entries(s.generation).map(([k, v]) => [k.replaceAll('_', ' '), value(v)])))),
                    h('div', null, schema(), settings()))],
            !s && !trouble && h('p', { class: 'dim' }, 'Loading…'));
    }

    draw();
    page.live(['/api/system'], (i, answer, error) => {
        if (i === 0) trouble = error, s = answer ?? s;
        draw();
    });
}

export default { name: 'system', title: 'System', key: 'y', icon: 'M2 3h12v4H2zM2 9h12v4H2zM4.5 5h1M4.5 11h1', open };
