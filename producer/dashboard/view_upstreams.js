import { heading } from './ui.js';
export default { name: 'upstreams', title: 'Upstreams', key: 'u', icon: 'M2 2h12v12H2z', open: (page) => page.show(heading('Upstreams')) };
