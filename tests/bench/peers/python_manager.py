"""Prints how long a worker process takes to put a value into a Manager's queue and get it back, and to set a key of its
dictionary, in microseconds."""
import time
from multiprocessing import Manager, Process, Queue


def measure(queue, keys, times, out):
    queue.put(0)
    queue.get()
    began = time.perf_counter()
    for n in range(times):
        queue.put(n)
        queue.get()
    trip = time.perf_counter() - began
    began = time.perf_counter()
    for n in range(times):
        keys[n % 1000] = n
    out.put((trip / times * 1e6, (time.perf_counter() - began) / times * 1e6))


def main():
    with Manager() as manager:
        # A proxy that nobody refers to in this process is gone before the worker has it.
        queue, keys, out = manager.Queue(), manager.dict(), Queue()
        worker = Process(target=measure, args=(queue, keys, 5_000, out))
        worker.start()
        print(*out.get(timeout=60))
        worker.join()


if __name__ == "__main__":
    main()
