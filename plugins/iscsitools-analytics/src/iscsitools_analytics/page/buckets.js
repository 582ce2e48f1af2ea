// Histograms as the server has them: four buckets to a power of two (width 0), or equal widths.
// A bucket of the first kind is the first 14 bits of an IEEE 754 double; 8192 is its sign. See docs/analytics.md.

const SIGN = 0x2000;
const ONE = 4 * 1023; // the bucket of the value 1

export const lowerBound = (bucket) => {
  const size = bucket & (SIGN - 1);
  const value = size < 4 ? 0 : 2 ** ((size >> 2) - 1023) * (1 + (size & 3) / 4);
  return bucket & SIGN ? -value : value;
};

const bucketOf = (value) => {
  const octave = Math.floor(Math.log2(value));
  return 4 * (octave + 1023) + Math.floor((value / 2 ** octave - 1) * 4);
};

// Rows of a map: 0 is the value 0, 1 is 1, and so on upwards, and downwards for negative values.
const rank = (bucket) => {
  const size = bucket & (SIGN - 1);
  return size < ONE ? 0 : size - ONE + 1;
};

// From which row to which a bucket reaches; of small numbers, which are whole, up to the next one.
export function rowsOf(bucket, width) {
  if (width) return [bucket, bucket + 1];
  const value = Math.abs(lowerBound(bucket));
  const low = rank(bucket);
  const high = value >= 1 && value < 4 ? rank(bucketOf(Math.floor(value) + 1)) : low + 1;
  return bucket & SIGN ? [-high + 1, -low + 1] : [low, high];
}

// The value at the lower edge of a row.
export function valueAt(row, width) {
  if (width) return row * width;
  if (row === 0) return 0;
  return row > 0 ? lowerBound(ONE + row - 1) : -lowerBound(ONE - row);
}

// The value below which a bucket's lie.
export const upperBound = (bucket, width) =>
  width ? (bucket + 1) * width : bucket & SIGN ? lowerBound(bucket) + 1 : bucket < 4 ? 1 : lowerBound(bucket + 1);

// [[bucket, count], ...] of a column's flat list, as wide as asked for.
export function pairs(flat, from, to) {
  const counts = new Map();
  for (let at = 0; at < flat.length; at += 2) {
    const bucket = from && to > from ? Math.floor((flat[at] * from) / to) : flat[at];
    counts.set(bucket, (counts.get(bucket) || 0) + flat[at + 1]);
  }
  return [...counts].sort((a, b) => rowsOf(a[0], to)[0] - rowsOf(b[0], to)[0]);
}

// The middle of the bucket in which a share of the values is reached; null of none.
export function percentile(sorted, share, width) {
  let left = share * sorted.reduce((sum, [, count]) => sum + count, 0);
  for (const [bucket, count] of sorted) {
    left -= count;
    if (left <= 0) return { bucket, value: (valueOf(bucket, width) + upperBound(bucket, width)) / 2 };
  }
  return null;
}

export const valueOf = (bucket, width) => (width ? bucket * width : lowerBound(bucket));
