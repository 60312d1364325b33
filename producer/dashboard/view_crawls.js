// Crawls: Firecrawl's sessions: how far they are, and what took the time.
import { get, target } from './api.js';
import { ago, badge, button, chosen, duration, empty, exact, facts, fault, h, heading, link, meter, number, panel, select, stacked, table } from './ui.js';

const STATUSES = [['', 'any'], ['in_progress', 'in progress'], ['completed', 'completed'], ['failed', 'failed'], ['cancelled', 'cancelled']];

const parts = (t) => [['chunking', t.chunking_ms], ['embedding', t.embedding_ms], ['storage', t.qdrant_ms], ['keyword index', t.bm25_ms]]
    .map(([name, ms]) => [name, ms ?? 0, duration(ms ?? 0)]);

function progress(c) {
    const done = c.pages_indexed + c.pages_failed, all = Math.max(c.total_pages, c.total_urls ?? 0, done);
    const text = `${number(done)} of ${number(all)} pages${c.pages_failed ? `, ${number(c.pages_failed)} failed` : ''}`;
    return h('div', { class: 'progress' }, meter(done, all, text), h('small', null, text));
}

const took = (c) => c.completed_at ? duration(c.e2e_duration_ms ?? c.duration_ms) : ['for ', duration(Date.now() - new Date(c.started_at))];

const COLS = [
    { head: 'Status', class: 'status', cell: (c) => badge(c.status) },
    { head: 'Crawl', class: 'grow', cell: (c) => [h('span', { class: 'cut', title: c.crawl_url }, c.crawl_url), h('small', { class: 'dim' }, c.operation_type.replaceAll('_', ' '))] },
    { head: 'Pages', cell: progress },
    { head: 'Where the time went', class: 'shares', cell: (c) => stacked(parts(c.aggregate_timing)) },
    { head: 'Took', class: 'n', cell: took },
    { head: 'Started', class: 'n age', cell: (c) => ago(c.started_at) },
];

function openList(page) {
    let status = chosen(STATUSES, page.query.status, ''), first = null, older = [], next, trouble = null, stop = () => {};

    async function more() {
        try {
            const answer = await get(target('/api/crawls', { status, limit: 100, after: next ?? first.next }));
            older = [...older, ...answer.crawls];
            next = answer.next ?? '';
        } catch (error) {
            trouble = error;
        }
        draw();
    }

    function start() {
        stop();
        first = null, older = [], next = undefined;
        stop = page.live([target('/api/crawls', { status, limit: 100 })], (i, answer, error) => {
            if (i < 0) return;
            trouble = error;
            first = answer ?? first;
            draw();
        });
    }

    function draw() {
        const seen = new Set(), rows = [...first?.crawls ?? [], ...older].filter((c) => !seen.has(c.crawl_id) && seen.add(c.crawl_id));
        page.show(heading('Crawls', select('status', 'Status', status, STATUSES, (v) => { status = v; page.remember({ status }); start(); })),
            trouble && fault(trouble),
            rows.length ? table({ caption: 'Crawls, the newest first', cols: COLS, rows, key: (c) => c.crawl_id, href: (c) => `#/crawls/${encodeURIComponent(c.crawl_id)}` })
                : first && (status ? empty('No crawl is like that', 'Choose another status.')
                    : empty('No crawls yet', 'Point Firecrawl at this producer: in the request that starts a crawl,',
                        h('code', null, '"webhook": {"url": "http://…/api/webhook/firecrawl"}'))),
            rows.length > 0 && (next ?? first?.next) && h('div', { class: 'buttons' }, button('more', 'Older ones', more)));
    }

    draw();
    start();
}

const STEPS = 200, STEPS_MORE = 1000, STEPS_AGAIN_MS = 5000;

function openOne(page) {
    const path = `/api/metrics/crawls/${encodeURIComponent(page.id)}`;
    let crawl = null, steps = null, most = STEPS, trouble = null, loading = false, settled = false;

    // There are up to 10,000 of them: too much for a stream that tells every change. They are written a little
    // later than the session: once it has ended they are asked for once more.
    async function load() {
        if (loading) return;
        loading = true;
        settled = steps !== null && crawl.status !== 'in_progress';
        try {
            steps = (await get(`${path}?include_per_page=true`)).per_page_metrics ?? [];
        } catch (error) {
            trouble = error;
        }
        loading = false;
        draw();
    }

    function pages() {
        if (!steps) return null;
        const rows = steps.slice(0, most).map((p, i) => ({ ...p, i }));
        const longest = Math.max(1, ...rows.map((p) => p.duration_ms));
        return panel('Measured', h('span', { class: 'dim' }, number(steps.length)), rows.length ? [table({ caption: 'What was measured of each page', rows, key: (p) => p.i, cols: [
            { head: 'Page', class: 'grow', cell: (p) => p.url ? link(p.url) : '–' },
            { head: 'What', cell: (p) => `${p.operation_type}: ${p.operation_name}`.replaceAll('_', ' ') },
            { head: 'Took', cell: (p) => h('span', { class: 'took' }, h('i', { css: { width: `${Math.max(2, p.duration_ms / longest * 90)}px` } }), duration(p.duration_ms)) },
            { head: 'How', cell: (p) => p.success ? badge('ok') : badge('failed') },
            { head: 'When', class: 'n', cell: (p) => ago(p.timestamp) },
        ] }), most < steps.length && h('div', { class: 'buttons pad' }, button('more', `${number(Math.min(STEPS_MORE, steps.length - most))} more`, () => { most += STEPS_MORE; draw(); }))]
            : h('p', { class: 'dim pad' }, 'Nothing was measured of its pages so far.'));
    }

    function draw() {
        const c = crawl;
        page.show(h('p', { class: 'crumbs' }, h('a', { href: '#/crawls' }, 'Crawls'), ' / ', h('code', null, page.id)),
            heading(c?.crawl_url ?? `Crawl ${page.id}`, c && badge(c.status)), trouble && fault(trouble),
            c?.error_message && h('div', { class: 'alert', 'data-level': 'error' }, h('i', { 'aria-hidden': 'true' }, '✕'), h('span', null, c.error_message)),
            c && [h('div', { class: 'halves' }, panel('Session', null, facts([['Address', link(c.crawl_url)], ['Pages', progress(c)], ['Started', exact(c.started_at)],
                ['Completed', c.completed_at && exact(c.completed_at)], ['Took', took(c)]])),
            panel('Where the time went', null, h('div', { class: 'pad' }, stacked(parts(c.aggregate_timing), true)))), pages()]);
    }

    draw();
    page.live([path], (i, answer, error) => {
        if (i < 0) return;
        trouble = error;
        crawl = answer ?? crawl;
        draw();
        if (answer && !steps) load();
    });
    page.every(STEPS_AGAIN_MS, () => crawl && !settled && load());
}

export default { name: 'crawls', title: 'Crawls', key: 'c', icon: 'M8 2.5v4M8 6.5 3.5 9.5M8 6.5l4.5 3M3.5 9.5v2.5M12.5 9.5v2.5M8 6.5V12',
    open: openList, single: { name: 'crawl', title: 'Crawl', open: openOne } };
