// charts: time series by dygraphs, with a legend and colours of our own: dygraphs' legend writes style
// attributes, which the content security policy forbids.
import { clock, h, render } from './ui.js';

const UNSEEN = { legend: 'never', showLabelsOnHighlight: false, interactionModel: {}, title: null };
const group = new Set(); // the charts shown: the pointer over one points in all of them

let loaded = null;

function load() {
    loaded ??= new Promise((resolve, reject) => {
        document.head.append(h('script', { src: '/dashboard/dygraph.min.js', onload: () => {
            const { Dygraph } = window;
            Dygraph.PLUGINS = Dygraph.PLUGINS.filter((plugin) => plugin !== Dygraph.Plugins.Legend);
            resolve(Dygraph);
        }, onerror: () => reject(new Error('dygraph.min.js cannot be loaded')) }));
    });
    return loaded;
}

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// {title, lines: [{label, color: '--c1', show: (value) => text, right: true (an axis of its own)}], empty: what
// is said when there is nothing to draw}.
// The chart's element is .el; set(rows, from, to) with rows of [Date, value, ...] draws it.
export class Chart {
    constructor({ title, lines, empty, fill = false }) {
        Object.assign(this, { title, lines, empty, fill, rows: [], graph: null, at: -1 });
        this.keys = h('ul', { class: 'keys' });
        this.plot = h('div', { class: 'plot', role: 'img', 'aria-label': title });
        this.nothing = h('p', { class: 'nothing dim', hidden: true });
        this.el = h('section', { class: 'panel chart', key: title, keep: true, 'aria-label': title },
            h('div', { class: 'head' }, h('h2', null, title), this.keys), this.plot, this.nothing);
        this.retheme = () => this.graph?.updateOptions(this.look());
        addEventListener('theme', this.retheme);
        this.scheme = matchMedia('(prefers-color-scheme: dark)');
        this.scheme.addEventListener('change', this.retheme);
        this.size = new ResizeObserver(() => this.graph?.resize());
        this.size.observe(this.plot);
        group.add(this);
    }

    release() {
        group.delete(this);
        removeEventListener('theme', this.retheme);
        this.scheme.removeEventListener('change', this.retheme);
        this.size.disconnect();
        this.graph?.destroy();
    }

    look() {
        return { colors: this.lines.map((line) => color(line.color)), axisLineColor: color('--line'), gridLineColor: color('--line') };
    }

    async set(rows, from, to) {
        this.rows = rows;
        this.point(-1);
        this.nothing.hidden = rows.some((row) => row.slice(1).some(Number.isFinite));
        this.nothing.textContent = this.empty;
        const Dygraph = await load();
        if (!this.el.isConnected) return;
        if (this.graph) return this.graph.updateOptions({ file: this.file(), dateWindow: [from, to] });
        this.graph = new Dygraph(this.plot, this.file(), { ...UNSEEN, ...this.look(), ...this.axes(),
            labels: ['time', ...this.lines.map((line) => line.label)], dateWindow: [from, to], includeZero: true,
            strokeWidth: 1.5, fillGraph: this.fill, fillAlpha: 0.12, highlightCircleSize: 3, axisLabelFontSize: 11, connectSeparatedPoints: true,
            rightGap: 4, xRangePad: 0, yRangePad: 6,
            highlightCallback: (event, x, points, row) => { for (const chart of group) chart.point(row, chart !== this); },
            unhighlightCallback: () => { for (const chart of group) chart.point(-1, chart !== this); } });
    }

    // dygraphs wants at least one row.
    file() {
        return this.rows.length ? this.rows : [[new Date(), ...this.lines.map(() => null)]];
    }

    axes() {
        const axis = (line) => ({ axisLabelFormatter: (value) => (line.tick ?? line.show)(value), axisLabelWidth: 52, drawGrid: !line.right, independentTicks: true });
        const left = this.lines.find((line) => !line.right), right = this.lines.find((line) => line.right);
        return {
            axes: { x: { drawGrid: false, axisLabelWidth: 56, pixelsPerLabel: 70 }, y: { ...axis(left), pixelsPerLabel: 28 }, ...(right && { y2: axis(right) }) },
            series: Object.fromEntries(this.lines.map((line) => [line.label, { axis: line.right ? 'y2' : 'y' }])),
        };
    }

    // The values of a row in the legend, or of the last one (-1).
    point(row, follow = false) {
        this.at = row;
        if (follow && this.graph) {
            if (row < 0) this.graph.clearSelection();
            else this.graph.setSelection(row);
        }
        const values = this.rows.at(row) ?? [];
        const known = (i) => Number.isFinite(values[i + 1]);
        const shown = this.lines.map((line, i) => known(i) ? line.show(values[i + 1]) : '–');
        render(this.keys, row >= 0 && values[0] && h('li', { class: 'dim' }, clock(values[0])), this.lines.map((line, i) =>
            h('li', { key: line.label }, h('i', { class: 'swatch', css: { background: `var(${line.color})` } }), `${line.label} `, h('b', null, shown[i]))));
        if (row < 0) this.plot.setAttribute('aria-label', `${this.title}, now: ${this.lines.map((l, i) => `${l.label} ${shown[i]}`).join(', ')}`);
    }
}

const SIGN_OF_LIFE_S = 90; // a fleet with nothing to tell tells so every minute
const TOLD_S = 5;          // until every process has told what it did

// Points of /api/series as rows of Date and the columns wanted. Where a point is missing nothing happened: the
// columns among `zeroes` were 0 there, and the rest (null) goes on as it was. When more is missing nobody was
// there: a gap (NaN). A last point that not all have told of would look like a fall.
export function columns(series, wanted, zeroes) {
    const rows = [], step = series.step_s, end = Date.parse(series.to) / 1000;
    const add = (at, value) => rows.push([new Date(at * 1000), ...wanted.map(value)]);
    let last = null;
    for (const point of series.points) {
        if (step <= TOLD_S && point[0] + step > end - TOLD_S) break;
        const missing = last !== null && point[0] - last > step * 1.5;
        const gap = missing && point[0] - last > Math.max(SIGN_OF_LIFE_S, step * 1.5);
        if (missing) for (const at of [last + step, point[0] - step]) add(at, (i) => gap ? NaN : zeroes.has(i) ? 0 : null);
        add(point[0], (i) => point[i] ?? (zeroes.has(i) ? 0 : null));
        last = point[0];
    }
    if (last !== null && end - last > Math.max(SIGN_OF_LIFE_S, step * 2)) add(last + step, () => NaN);
    return rows;
}

// From when it is worth showing: a young installation has no past, but a sixth of the range is shown at least.
export function beginning(series) {
    const from = Date.parse(series.from), to = Date.parse(series.to), first = series.points[0]?.[0] * 1000;
    return first ? Math.max(from, Math.min(first, to - (to - from) / 6)) : from;
}
