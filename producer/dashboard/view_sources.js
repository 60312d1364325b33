import { heading } from './ui.js';
export default { name: 'sources', title: 'Sources', key: 's', icon: 'M2 2h12v12H2z', open: (page) => page.show(heading('Sources')) };
