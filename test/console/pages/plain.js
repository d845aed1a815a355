// A page with the published SDK as the console's snippet uses it.
import Brook from '@aptly-sdk/brook';

const { key, endpoint } = Object.fromEntries(new URLSearchParams(location.search));
const write = (id, text) => { document.getElementById(id).textContent += text + '\n'; };

const client = new Brook({ apiKey: key });
client.config.endpoint = endpoint;

const news = client.realtime.channel('news');
const show = (data, { offset }) => write('messages', `${offset} ${JSON.stringify(data)}`);

client.onConnectivityChange((status) => {
  write('status', status);
  if (status === 'connected') news.stream(show);
});

client.connect().catch((error) => write('refused', error.message));
