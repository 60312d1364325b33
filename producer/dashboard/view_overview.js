// Overview: is it keeping up, what is failing and why, is anything stuck.
import { get, post, target } from './api.js';
import { Chart, beginning, columns } from './charts.js';
import { action, ago, ask, attempt, badge, brief, bytes, chosen, empty, fault, h, heading, number, panel, plural, rate, segments, table } from './ui.js';

const RANGES = [[15, '15 min'], [60, '1 h'], [360, '6 h'], [1440, '24 h'], [10080, '7 d']];
// Of a point of /api/series.
const ACCEPTED = 1, COMPLETED = 2, FAILED = 3, SUPERSEDED = 4, DEPTH = 7, OLDEST = 8, IN_FLIGHT = 9, P50 = 10, P95 = 11, P99 = 12;
const ZEROES = new Set([ACCEPTED, COMPLETED, FAILED, SUPERSEDED, OLDEST]); // when nothing is told of them

const whole = (v) => number(v < 10 ? v : Math.round(v));
const perSecond = (v) => `${rate(v)}/s`;
const CHARTS = [
    { title: 'Events/s', columns: [ACCEPTED, COMPLETED, SUPERSEDED, FAILED], fill: true, empty: 'Nothing came in, and nothing was done.', lines: [
        { label: 'accepted', color: '--c1', show: rate, tick: number }, { label: 'completed', color: '--c2', show: rate },
        { label: 'superseded', color: '--c5', show: rate }, { label: 'failed', color: '--c4', show: rate }] },
    { title: 'Queue', columns: [DEPTH, OLDEST], empty: 'Nobody has counted the queue.', lines: [
        { label: 'jobs', color: '--c1', show: whole }, { label: 'oldest due', color: '--c3', show: brief, right: true }] },
    { title: 'Latency', columns: [P50, P95, P99], empty: 'Nothing was completed.', lines: [
        { label: 'p50', color: '--c2', show: brief }, { label: 'p95', color: '--c3', show: brief }, { label: 'p99', color: '--c4', show: brief }] },
    { title: 'In flight', columns: [IN_FLIGHT], fill: true, empty: 'No worker was there.', lines: [{ label: 'jobs', color: '--c1', show: whole }] },
];

// Where there is more to see than the view that an alert names.
const CLOSER = { stuck: 'events?status=in_progress', not_keeping_up: 'events?status=queued', retrying: 'events?status=queued' };
const PLACES = { events: 'Events', crawls: 'Crawls', workers: 'Workers', dead: 'Dead letters', upstreams: 'Upstreams', sources: 'Sources', system: 'System' };
const LEVELS = { error: '✕', warn: '!', info: 'i' };

// Numbers in them change every second: said aloud is only what is new.
function alerts(list, spoken) {
    const seen = {};
    const names = list?.map((alert) => `${alert.what} ${seen[alert.what] = (seen[alert.what] ?? 0) + 1}`);
    if (names && spoken.names !== names.join()) {
        spoken.text = list.filter((_, i) => !spoken.names?.split(',').includes(names[i])).map((alert) => alert.text).join(' ');
        spoken.names = names.join();
    }
    return h('div', { class: 'alerts', key: 'alerts' }, h('p', { class: 'hidden', 'aria-live': 'polite' }, spoken.text ?? ''), list?.length
        ? list.map((alert, i) => h('div', { class: 'alert', 'data-level': alert.level, 'data-what': alert.what, key: names[i] },
            h('i', { 'aria-hidden': 'true' }, LEVELS[alert.level] ?? 'i'), h('span', null, alert.text),
            alert.view && alert.view !== 'overview' && h('a', { href: `#/${CLOSER[alert.what] ?? alert.view}` }, `${PLACES[alert.view] ?? 'Look'} →`)))
        : list && h('div', { class: 'alert', 'data-level': 'ok' }, h('i', { 'aria-hidden': 'true' }, '✓'),
            h('span', null, 'All is well: it keeps up, nothing is stuck.')));
}

function tile(name, value, note, href, level) {
    return h(href ? 'a' : 'div', { class: 'tile', key: name, href, 'data-level': level }, h('span', null, name), h('strong', null, value),
        h('small', null, note ?? ''));
}

// A count is bounded: above counted_to it is "10,000+".
const bounded = (n, counts) => n >= counts.counted_to ? `${number(counts.counted_to)}+` : number(n);

function oldestAge(queues) {
    const ages = Object.values(queues ?? {}).map((q) => q.oldest_age_ms).filter((ms) => ms !== null && ms !== undefined);
    return ages.length ? Math.max(...ages) : null;
}

function tiles(o) {
    const c = o.counts, r = o.rates, l = o.latency_ms, oldest = oldestAge(o.queues);
    return h('div', { class: 'tiles' },
        tile('accepted', perSecond(r.accepted), 'the last minute', '#/sources'),
        tile('completed', perSecond(r.completed), r.superseded ? `${perSecond(r.superseded)} superseded` : 'the last minute', '#/events?status=completed'),
        tile('failed', perSecond(r.failed), `${bounded(c.failed, c)} to look at`, '#/dead', r.failed > 0 ? 'error' : null),
        tile('in flight', number(o.workers.in_flight), plural(o.workers.alive, 'worker'), '#/workers', o.workers.alive ? null : 'error'),
        tile('due now', bounded(c.due, c), `of ${bounded(c.queued, c)} queued`, '#/events?status=queued'),
        tile('oldest', oldest === null ? 'none' : brief(oldest), oldest === null ? 'nothing waits' : 'of what is due', '#/events?status=queued'),
        h('div', { class: 'tile wide', key: 'latency' }, h('span', null, 'latency, 5 min'),
            h('div', null, ['p50', 'p95', 'p99'].map((p) => h('span', null, h('small', null, p), h('strong', null, brief(l[p])))))));
}

async function pause(name) {
    const reason = await ask(`Pause ${name}?`, 'No worker takes jobs of this queue until it is resumed. What is accepted waits; nothing is lost.',
        'Why (others see it)', 'Pause', 'pause-apply');
    if (reason !== undefined) await attempt(() => post(`/api/queues/${name}/pause`, { reason: reason || 'from the dashboard' }), `${name} is paused.`);
}

export function queuesPanel(overview) {
    if (!overview) return null;
    const { redis, queues, spools } = overview;
    const rows = Object.entries(queues).map(([name, q]) => ({ name, ...q }));
    return panel('Queues', null,
        !redis && h('div', { class: 'alert', 'data-level': 'warn' }, h('i', { 'aria-hidden': 'true' }, '!'),
            h('span', null, 'Redis does not answer: events are accepted and kept, and go on when it is back.')),
        table({ caption: 'Queues', rows, key: (q) => q.name, cols: [
            { head: 'Queue', cell: (q) => h('b', null, q.name) },
            { head: 'State', cell: (q) => q.paused ? badge('paused') : badge('ok', 'open') },
            { head: 'Waiting', class: 'n', cell: (q) => number(q.length === null ? null : Math.max(0, q.length - q.pending)) },
            { head: 'Taken', class: 'n', cell: (q) => number(q.pending) },
            { head: 'Later', class: 'n', cell: (q) => number(q.later) },
            { head: 'Oldest', class: 'n', cell: (q) => q.oldest_age_ms === null ? '–' : brief(q.oldest_age_ms) },
            { head: '', class: 'do', cell: (q) => q.paused
                ? action('resume', 'Resume', () => attempt(() => post(`/api/queues/${q.name}/resume`, {}), `${q.name} goes on.`), { 'data-queue': q.name })
                : action('pause', 'Pause…', () => pause(q.name), { 'data-queue': q.name }) },
        ] }),
        spools?.length ? h('p', { class: 'dim pad' }, 'Spooled: ', spools.map((s, i) => [i ? ', ' : '',
            `${bytes(s.bytes)} on ${s.host} (`, ago(s.seen_at), ')'])) : null);
}

function open(page) {
    let minutes = chosen(RANGES, page.query.minutes, 60);
    let answer = page.overview(), trouble = null, charted = null;
    const spoken = {};
    const charts = CHARTS.map((c) => new Chart(c));
    page.onLeave(() => charts.forEach((chart) => chart.release()));

    function draw() {
        page.show(heading('Overview', segments('Range', minutes, RANGES, (m) => {
            minutes = m;
            page.remember({ minutes });
            draw();
            chart();
        })),
        trouble && fault(trouble),
        alerts(answer?.alerts, spoken),
        answer ? tiles(answer) : h('div', { class: 'tiles wait' }),
        charted && fault(charted, chart),
        h('div', { class: 'charts', key: 'charts' }, charts.map((c) => c.el)),
        answer && queuesPanel(answer),
        answer && !answer.workers.alive && !answer.rates.accepted && !answer.counts.queued && empty('Nothing has come in yet',
            'Start a worker (hookline-worker) and send an event:', h('code', null, 'hooklinectl send --url https://example.com/')));
    }

    let asked = 0;
    async function chart() {
        const turn = ++asked;
        try {
            const series = await get(target('/api/series', { minutes }));
            if (turn !== asked) return;
            const from = beginning(series), to = Date.parse(series.to);
            CHARTS.forEach((c, i) => charts[i].set(columns(series, c.columns, ZEROES), from, to));
            if (charted) charted = null, draw();
        } catch (error) {
            charted = error;
            draw();
        }
    }

    draw();
    chart();
    page.live([], (i, news, error) => {
        if (news) answer = news;
        trouble = error;
        draw();
    });
    let beats = 0;
    page.every(5000, () => (minutes <= 60 || ++beats % 6 === 0) && chart());
}

export default { name: 'overview', title: 'Overview', key: 'o', icon: 'M2 13.5h12M3.5 11V8M8 11V3M12.5 11V6', open };
