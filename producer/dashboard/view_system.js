import { heading } from './ui.js';
export default { name: 'system', title: 'System', key: 'y', icon: 'M2 2h12v12H2z', open: (page) => page.show(heading('System')) };
