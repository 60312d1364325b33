// Workers: who works, on what, how long; and who crashed.
import { post } from './api.js';
import { action, ago, attempt, badge, bytes, duration, empty, fault, h, heading, number, panel, plural, table } from './ui.js';
import { queuesPanel } from './view_overview.js';

const state = (w) => [sign(w), h('small', { class: 'dim', title: 'Heard of' }, ' ', ago(w.seen_at))];

const SILENT_MS = 120000; // two leases

function sign(w) {
    if (w.state !== 'alive') return badge(w.state);
    if (Date.now() - new Date(w.seen_at) > SILENT_MS) return badge('silent');
    if (w.orders === 'quiet') return badge('quiet', w.jobs ? 'quiet, finishing' : 'quiet');
    if (w.paused?.length) return badge('paused', `paused: ${w.paused.join(', ')}`);
    return badge('alive');
}

function pool(p) {
    if (!p) return '–';
    const text = `${number(p.busy ?? 0)} of ${number(p.max ?? p.open)} connections busy${p.waiting ? `, ${number(p.waiting)} waiting` : ''}`;
    return h('span', { title: text }, `${number(p.busy ?? 0)}/${number(p.max ?? p.open)}`, p.waiting ? h('span', { class: 'tag bad' }, `${number(p.waiting)} waiting`) : null);
}

const order = (w, what, done) => attempt(() => post(`/api/workers/${encodeURIComponent(w.id)}/orders`, { order: what }), done);

function orders(w) {
    if (w.state !== 'alive') return null;
    return [w.orders === 'quiet'
        ? action('unquiet', 'Unquiet', () => order(w, null, 'It takes jobs again.'), { title: 'Takes jobs again' })
        : action('quiet', 'Quiet', () => order(w, 'quiet', 'It finishes what it has, and takes nothing new.'), { title: 'Finishes what it has and takes nothing new' }),
    w.orders === 'kick' ? badge('busy', 'kicked') : action('kick', 'Kick', () => order(w, 'kick', 'It ends, and is started anew.'), { title: 'Gives back what it has, ends, and is started anew by its supervisor' })];
}

const COLS = [
    { head: 'Worker', class: 'grow', sort: (w) => w.id, cell: (w) => [h('b', { class: 'cut', title: w.id }, `${w.host}:${w.pid}`), h('small', { class: 'dim cut' }, w.id)] },
    { head: 'State', sort: (w) => w.state, cell: state },
    { head: 'Phase', sort: (w) => w.phase, cell: (w) => w.phase ? h('span', { class: 'tag' }, w.phase.replaceAll('_', ' ')) : '–' },
    { head: 'Jobs', class: 'n', sort: (w) => w.jobs ?? w.in_progress, cell: (w) => [number(w.jobs ?? w.in_progress), w.crawls ? h('small', { class: 'dim', title: 'of crawls' }, ` + ${number(w.crawls)}`) : null] },
    { head: 'Oldest', class: 'n', sort: (w) => w.oldest_ms, cell: (w) => duration(w.oldest_ms) },
    { head: 'Done', class: 'n', sort: (w) => w.done, cell: (w) => number(w.done) },
    { head: 'Memory', class: 'n', sort: (w) => w.rss_kb, cell: (w) => bytes(w.rss_kb === null || w.rss_kb === undefined ? null : w.rss_kb * 1024) },
    { head: 'Pool', class: 'n', cell: (w) => pool(w.pool) },
    { head: 'Restarts', class: 'n', sort: (w) => w.restarts, cell: (w) => number(w.restarts) },
    { head: 'Started', class: 'n', sort: (w) => w.started_at, cell: (w) => ago(w.started_at) },
    { head: '', class: 'do', cell: orders },
];

function held(c) {
    if (!c.held?.length) return 'nothing';
    return c.held.slice(0, 3).map((x, i) => [i ? ', ' : '', x.event_id ? h('a', { href: `#/events/${encodeURIComponent(x.event_id)}` }, h('code', null, x.event_id.slice(-12))) : 'a job', x.step ? ` (${x.step})` : ''])
        .concat(c.held.length > 3 ? [` and ${number(c.held.length - 3)} more`] : []);
}

const CRASHES = [
    { head: 'When', cell: (c) => ago(c.crashed_at) },
    { head: 'Process', cell: (c) => `${c.role} ${c.host}:${c.pid}` },
    { head: 'Cause', cell: (c) => [badge('failed', c.cause), c.blamed ? h('span', { class: 'tag bad', title: 'What it worked on is suspect, and runs alone' }, 'blames its job') : null] },
    { head: 'Held', cell: held },
    { head: 'Lived', class: 'n', cell: (c) => duration(c.lived_ms) },
    { head: 'Memory', class: 'n', cell: (c) => bytes(c.max_rss_kb === null ? null : c.max_rss_kb * 1024) },
];

function open(page) {
    let answer = null, trouble = null;
    const sort = { by: 0, down: false };

    function summary(workers) {
        const alive = workers.filter((w) => w.state === 'alive');
        const sum = (name) => alive.reduce((n, w) => n + (w[name] ?? 0), 0);
        const jobs = alive.reduce((n, w) => n + (w.jobs ?? w.in_progress), 0);
        return h('p', { class: 'summary' }, [`${plural(alive.length, 'process', 'processes')} on ${plural(new Set(alive.map((w) => w.host)).size, 'host')}`,
            `${plural(jobs, 'job')} in hand`, bytes(sum('rss_kb') * 1024)].map((text) => h('span', null, text)));
    }

    function draw() {
        page.show(heading('Workers', answer?.workers.length ? summary(answer.workers) : null), trouble && fault(trouble), answer && (answer.workers.length
            ? table({ caption: 'Worker processes', cols: COLS, rows: answer.workers, key: (w) => w.id, sort, resort: draw })
            : empty('No worker is there', 'What comes in is kept, and waits for one. Start workers:', h('code', null, 'hookline-worker'))),
        queuesPanel(page.overview()),
        answer?.crashes.length ? panel('Crashes', h('span', { class: 'dim' }, 'the newest'), table({ caption: 'Crashes of workers, the newest first', cols: CRASHES,
            rows: answer.crashes, key: (c) => c.worker + c.crashed_at })) : answer && h('p', { class: 'dim' }, 'No crashes.'));
    }

    draw();
    page.live(['/api/workers'], (i, news, error) => {
        if (i === 0) trouble = error, answer = news ?? answer;
        draw();
    });
}

export default { name: 'workers', title: 'Workers', key: 'w', icon: 'M3 3h10v10H3zM6 6h4v4H6zM6 1v2M10 1v2M6 13v2M10 13v2M1 6h2M1 10h2M13 6h2M13 10h2',
    count: (o) => o.workers.dead + o.workers.silent, open };
