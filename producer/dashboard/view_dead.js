// Dead letters: what failed for good, by error; and putting it back.
import { get, post, target } from './api.js';
import { action, ago, attempt, badge, button, chosen, dialog, empty, facts, fault, h, heading, later, meter, number, panel, plural, segments, table } from './ui.js';
import { idOf } from './view_events.js';

const SINCE = [['', 'ever'], ['60', '1 h'], ['1440', '24 h'], ['10080', '7 d']];
const FIELDS = [['error', 'Error', 'A part of it'], ['url', 'Page', 'Its whole address'], ['watch', 'Watch', 'Its id']];
const WORKING = new Set(['applying', 'running', 'in_progress']);

const GROUPS = (choose, chosen) => [
    { head: 'Error', class: 'grow', cell: (g) => h('button', { type: 'button', class: 'plain cut', title: g.error, 'aria-pressed': String(chosen === g.error),
        onclick: () => choose(g.error) }, g.error) },
    { head: 'Events', class: 'n', sort: (g) => g.events, cell: (g) => number(g.events) },
    { head: 'Pages', class: 'n', sort: (g) => g.urls, cell: (g) => number(g.urls) },
    { head: 'Newest', class: 'n', sort: (g) => g.newest_at, cell: (g) => ago(g.newest_at) },
    { head: 'Oldest', class: 'n', sort: (g) => g.oldest_at, cell: (g) => ago(g.oldest_at) },
];

const EVENTS = [
    { head: 'Page', class: 'grow', cell: (e) => h('span', { class: 'cut', title: e.url }, e.url) },
    { head: 'Error', class: 'error', cell: (e) => h('span', { class: 'cut', title: e.error }, e.error ?? '') },
    { head: 'Failures', class: 'n', cell: (e) => number(e.attempts) },
    { head: 'Failed', class: 'n', cell: (e) => ago(e.failed_at) },
];

function filterText(filter) {
    const parts = Object.entries(filter ?? {}).filter(([, v]) => v).map(([k, v]) => `${k}: ${v}`);
    return parts.length ? parts.join(', ') : 'all that failed';
}

// A plan of many events takes a while to be made.
async function made(plan) {
    while (plan.state === 'planning') {
        await new Promise((go) => setTimeout(go, 1000));
        plan = await get(`/api/redrives/${plan.token}`);
    }
    return plan;
}

const done = (r) => Math.max(0, r.total - r.left);

// What a redrive would do, then doing it.
function preview(plan) {
    return dialog(`Put back ${plural(plan.total, 'event')}?`, (close) => {
        const speed = h('input', { name: 'per_second', type: 'number', min: '1', max: '1000', value: '50', required: true, autofocus: true });
        const apply = async (e) => {
            e.preventDefault();
            const per_second = Number(speed.value);
            if (await attempt(() => post(`/api/redrives/${plan.token}/apply`, { per_second }), 'They are being put back.')) close(true);
        };
        if (!plan.total) return [h('p', null, 'Nothing that failed is like that any more.'), h('div', { class: 'buttons' }, button('cancel', 'Close', () => close()))];
        return h('form', { onsubmit: apply },
            h('p', null, `${plural(plan.total, 'failed event')} of ${plural(plan.urls, 'page')} would be queued again (`, h('b', null, filterText(plan.filter)), '). Nothing is put back before you say so.'),
            plan.errors?.length ? table({ caption: 'By error', rows: plan.errors, key: (e) => e.status, cols: [
                { head: 'Error', class: 'grow', cell: (e) => h('span', { class: 'cut', title: e.status }, e.status.replace(/^failed: /, '')) },
                { head: 'Events', class: 'n', cell: (e) => number(e.events) }, { head: 'Pages', class: 'n', cell: (e) => number(e.urls) }] }) : null,
            plan.items?.length ? h('details', { open: plan.items.length <= 5 }, h('summary', null, `The first ${number(plan.items.length)}`),
                h('ul', { class: 'sample' }, plan.items.map((i) => h('li', { class: 'cut' }, i.url ?? i.watch_url ?? idOf(i))))) : null,
            h('label', null, h('span', null, 'Events a second: gently, the sites have failed once'), speed),
            h('div', { class: 'buttons' }, button('cancel', 'Leave them', () => close()),
                h('button', { type: 'submit', class: 'primary', 'data-action': 'redrive-apply', 'data-write': true }, `Put back ${number(plan.total)}`)));
    });
}

function runs(list) {
    if (!list?.length) return null;
    const rows = list.filter((r, i) => i < 5 || WORKING.has(r.state));
    return panel('Redrives', rows.length < list.length && h('span', { class: 'dim' }, `the newest of ${number(list.length)}`), table({ caption: 'Redrives', rows, key: (r) => r.token, cols: [
        { head: 'State', cell: (r) => badge(r.state) },
        { head: 'What', class: 'grow', cell: (r) => h('span', { class: 'cut', title: filterText(r.filter) }, filterText(r.filter), r.reason ? h('small', { class: 'dim' }, ` · ${r.reason}`) : null) },
        { head: 'Progress', cell: (r) => h('div', { class: 'progress', 'data-left': r.left }, meter(done(r), r.total, `${number(done(r))} of ${number(r.total)}`),
            h('small', null, `${number(done(r))} of ${number(r.total)}${r.changed ? `, ${number(r.changed)} had changed` : ''}`)) },
        { head: 'By', cell: (r) => r.by },
        { head: 'Planned', class: 'n', cell: (r) => ago(r.planned_at) },
        { head: '', class: 'do', cell: (r) => r.left > 0 && r.state === 'planned'
            ? action('redrive-open', 'Look…', async () => { const plan = await attempt(() => get(`/api/redrives/${r.token}`)); if (plan) preview(plan); })
            : WORKING.has(r.state) && action('redrive-stop', 'Stop', () => attempt(() => post(`/api/redrives/${r.token}/stop`, {}), 'Stopped; what is left stays failed.')) },
    ] }));
}

function open(page) {
    const filter = { error: page.query.error ?? '', url: page.query.url ?? '', watch: page.query.watch ?? '', since: chosen(SINCE, page.query.since, '') };
    const sort = { by: 1, down: true };
    let dead = null, redrives = null, events = null, next = null, reason = '', troubles = {}, busy = false, turn = 0;

    function asked() {
        const { since, ...rest } = filter;
        const q = Object.fromEntries(Object.entries(rest).filter(([, v]) => v.trim()).map(([k, v]) => [k, v.trim()]));
        if (since) q.since = new Date(Date.now() - since * 60000).toISOString();
        return q;
    }

    async function load(more) {
        const mine = ++turn;
        try {
            const answer = await get(target('/api/dead/events', { ...asked(), limit: 100, after: more ? next : '' }));
            if (mine !== turn) return;
            events = more ? [...events, ...answer.events] : answer.events;
            next = answer.next;
            troubles.list = null;
        } catch (error) {
            troubles.list = error;
        }
        draw();
    }

    function change(values) {
        Object.assign(filter, values);
        page.remember(filter);
        draw();
        load();
    }
    const typed = later(250, (name, value) => change({ [name]: value }));

    async function plan() {
        busy = true;
        draw();
        const answer = await attempt(async () => made(await post('/api/redrives', { filter: asked(), reason: reason.trim() || 'from the dashboard' })));
        busy = false;
        draw();
        if (answer && page.main.isConnected && await preview(answer)) load();
    }

    function letters() {
        const n = dead.crawl_letters;
        return n ? h('p', { class: 'dim gap-below' }, `Redis keeps ${plural(n, 'dead letter')} of Firecrawl's events, which have no row here: `, h('code', null, 'hooklinectl dead list')) : null;
    }

    function draw() {
        const any = Object.values(filter).some(Boolean);
        page.show(heading('Dead letters'), Object.values(troubles).filter(Boolean).map((error) => fault(error, () => load())),
            runs(redrives),
            dead && (dead.groups.length ? panel('By error', h('span', { class: 'dim' }, `${number(dead.counted)}${dead.complete ? '' : '+'} failed`),
                table({ caption: 'Failed events by error', cols: GROUPS((error) => change({ error: filter.error === error ? '' : error }), filter.error), rows: dead.groups,
                    key: (g) => g.error, sort, resort: draw }))
                : empty('Nothing has failed for good', 'Events whose last attempt failed are listed here, and can be put back.')),
            dead && letters(),
            (dead?.groups.length || any) && [h('div', { class: 'filters', role: 'search' }, FIELDS.map(([name, label, hint]) =>
                h('label', { class: 'grow' }, h('span', null, label), h('input', { name, type: 'search', value: filter[name], placeholder: hint, autocomplete: 'off',
                    oninput: (e) => typed(name, e.target.value) }))),
            h('div', { class: 'field' }, h('span', null, 'Failed since'), segments('Failed since', filter.since, SINCE, (since) => change({ since })))),
            h('div', { class: 'filters', 'data-write': true }, h('label', { class: 'grow' }, h('span', null, 'Why they are put back (goes into the log of operators)'),
                h('input', { name: 'reason', placeholder: 'e.g. the shop is back', maxlength: '200', autocomplete: 'off', oninput: (e) => { reason = e.target.value; } })),
            action('redrive-preview', busy ? 'Looking…' : any ? 'Redrive these…' : 'Redrive all…', plan, { class: 'primary', disabled: busy || !events?.length })),
            events && (events.length ? table({ caption: 'Failed events, the newest first', cols: EVENTS, rows: events, key: idOf, href: (e) => `#/events/${encodeURIComponent(idOf(e))}` })
                : h('p', { class: 'dim' }, 'No failed event is like that.')),
            next && h('div', { class: 'buttons' }, button('more', 'Older ones', () => load(true)))]);
    }

    draw();
    load();
    let counted = null;
    page.live(['/api/dead', '/api/redrives'], (i, answer, error) => {
        if (i < 0) return;
        troubles[i] = error;
        if (i === 0 && answer) {
            dead = answer;
            if (counted !== null && counted !== answer.counted && !(events?.length > 100)) load();
            counted = answer.counted;
        }
        if (i === 1 && answer) redrives = answer.redrives;
        draw();
    });
}

export default { name: 'dead', title: 'Dead letters', key: 'd', icon: 'M2 4h12v9H2zM2 4.5l6 4.5 6-4.5', count: (o) => o.counts.failed, open };
