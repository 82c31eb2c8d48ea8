"""Prints how many trivial tasks per second Python's process pool maps one by one, with two workers."""
import statistics
import time
from concurrent.futures import ProcessPoolExecutor


def square(x):
    return x * x


def main():
    count = 20_000
    with ProcessPoolExecutor(2) as pool:
        pool.submit(square, 7).result()
        rates = []
        for _ in range(3):
            began = time.perf_counter()
            for n, result in enumerate(pool.map(square, range(count))):
                assert result == n * n
            rates.append(count / (time.perf_counter() - began))
    print(statistics.median(rates))


if __name__ == "__main__":
    main()
