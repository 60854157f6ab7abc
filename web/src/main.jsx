import { createRoot } from 'react-dom/client';

import { App } from './app.jsx';

import 'graphiql/style.css';
import './page.css';

createRoot(document.getElementById('root')).render(<App />);
