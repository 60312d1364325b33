import { heading } from './ui.js';
export default { name: 'dead', title: 'Dead', key: 'd', icon: 'M2 2h12v12H2z', open: (page) => page.show(heading('Dead')) };
