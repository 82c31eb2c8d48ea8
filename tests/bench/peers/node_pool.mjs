// Prints how many trivial tasks per second two of Node's worker threads take, each with a window of tasks on its way.
import { Worker, isMainThread, parentPort } from 'node:worker_threads';

const COUNT = 50_000;
const WINDOW = 64;

async function round(workers) {
  let next = 0;
  let done = 0;
  const began = performance.now();
  await new Promise((resolve) => {
    for (const worker of workers) {
      worker.removeAllListeners('message');
      worker.on('message', () => {
        done += 1;
        if (next < COUNT) worker.postMessage(next++);
        if (done === COUNT) resolve();
      });
      for (let i = 0; i < WINDOW; i++) worker.postMessage(next++);
    }
  });
  return (COUNT / (performance.now() - began)) * 1e3;
}

if (isMainThread) {
  const workers = [new Worker(new URL(import.meta.url)), new Worker(new URL(import.meta.url))];
  const rates = [];
  for (let i = 0; i < 3; i++) rates.push(await round(workers));
  await Promise.all(workers.map((worker) => worker.terminate()));
  console.log(rates.sort((a, b) => a - b)[1]);
} else {
  parentPort.on('message', (n) => parentPort.postMessage(n * n));
}
