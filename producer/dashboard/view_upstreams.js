// Upstreams: how the sites and services that workers ask do.
import { target } from './api.js';
import { ago, badge, brief, chosen, duration, empty, fault, h, heading, number, rate, segments, table } from './ui.js';

const RANGES = [[1, '1 h'], [24, '24 h'], [168, '7 d']];
const share = (n, of) => n && of ? ` (${(n / of * 100).toFixed(n / of < 0.1 ? 1 : 0)} %)` : '';

function state(u) {
    return [badge(u.state, { closed: 'in use', open: 'left alone', half_open: 'probing' }[u.state] ?? u.state),
        u.retry_in_ms ? h('small', { class: 'dim' }, ` tried in ${brief(u.retry_in_ms)}`) : null,
        u.state !== 'closed' && u.probed_by ? h('small', { class: 'dim' }, ` by ${u.probed_by}`) : null];
}

function outcomes(u) {
    const list = Object.entries(u.outcomes ?? {}).filter(([, n]) => n).sort((a, b) => b[1] - a[1]);
    return list.map(([name, n]) => h('span', { class: 'tag', key: name }, `${name.replaceAll('_', ' ')} ${number(n)}`));
}

const WINDOW_MS = 60000;

// Fetches a second of each host, from what the answers of the last minute add up to: hourly totals tell no rate.
class Rates {
    constructor() {
        this.seen = new Map(); // host: [[ms, fetches], ...]
    }

    hear(upstreams, now = Date.now()) {
        for (const { host, fetches } of upstreams) {
            const had = (this.seen.get(host) ?? []).filter(([at, n]) => now - at <= WINDOW_MS && n <= fetches);
            this.seen.set(host, [...had, [now, fetches]]);
        }
    }

    of(host, now = Date.now()) {
        const heard = this.seen.get(host) ?? [[now, 0]], [at, n] = heard[0];
        return now - at < 5000 ? null : (heard.at(-1)[1] - n) / (now - at) * 1000;
    }
}

const COLS = (rates) => [
    { head: 'Host', class: 'grow', sort: (u) => u.host, cell: (u) => [h('b', { class: 'cut', title: u.host }, u.host),
        u.last_error && h('small', { class: 'dim cut', title: u.last_error }, u.state === 'closed' ? 'Last: ' : '', u.last_error)] },
    { head: 'Circuit', sort: (u) => ['closed', 'half_open', 'open'].indexOf(u.state), cell: state },
    { head: 'Fetches', class: 'n', sort: (u) => u.fetches, cell: (u) => number(u.fetches) },
    { head: 'Now', class: 'n', sort: (u) => rates.of(u.host), cell: (u) => rates.of(u.host) === null ? '–' : `${rate(rates.of(u.host))}/s` },
    { head: 'Errors', class: 'n', sort: (u) => u.errors, cell: (u) => h('span', { class: u.errors ? 'bad' : null }, number(u.errors), share(u.errors, u.fetches)) },
    { head: '429', class: 'n', sort: (u) => u.throttled, cell: (u) => number(u.throttled) },
    { head: 'Average', class: 'n', sort: (u) => u.avg_ms, cell: (u) => duration(u.avg_ms) },
    { head: 'Outcomes', class: 'tags', cell: outcomes },
    { head: 'Changed', class: 'n', sort: (u) => u.changed_at, cell: (u) => ago(u.changed_at) },
];

function open(page) {
    let hours = chosen(RANGES, page.query.hours, 24), answer = null, trouble = null, stop = () => {}, rates, cols;
    const sort = { by: 1, down: true };

    function start() {
        stop();
        rates = new Rates();
        cols = COLS(rates);
        stop = page.live([target('/api/upstreams', { hours })], (i, news, error) => {
            if (i < 0) return;
            trouble = error;
            answer = news ?? answer;
            if (news) rates.hear(news.upstreams);
            draw();
        });
    }

    function draw() {
        page.show(heading('Upstreams', segments('Range', hours, RANGES, (n) => { hours = n; page.remember({ hours }); draw(); start(); })),
            trouble && fault(trouble),
            answer && (answer.upstreams.length ? table({ caption: 'Hosts that workers fetch from', cols, rows: answer.upstreams, key: (u) => u.host, sort, resort: draw })
                : empty('Nobody was asked in this time', 'The hosts that workers fetch from are listed here with their errors. Try a longer range, or send an event:',
                    h('code', null, 'hooklinectl send --url https://example.com/'))));
    }

    draw();
    start();
    // Who is asked no more changes no answer, but the rate.
    page.every(5000, () => {
        if (!answer) return;
        rates.hear(answer.upstreams);
        draw();
    });
}

export default { name: 'upstreams', title: 'Upstreams', key: 'u', icon: 'M5 13V4M2 7l3-3 3 3M11 3v9M8 9l3 3 3-3', open };
