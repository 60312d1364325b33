import { heading } from './ui.js';
export default { name: 'workers', title: 'Workers', key: 'w', icon: 'M2 2h12v12H2z', open: (page) => page.show(heading('Workers')) };
