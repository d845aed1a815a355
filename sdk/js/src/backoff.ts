/** pauseBefore returns how long to wait before the nth try in a row, from 1: full jitter, 0.1 to 10 s. */
export const pauseBefore = (n: number) => 100 + Math.random() * Math.min(9_900, 100 * 2 ** n);
