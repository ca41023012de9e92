/** Compares versions that were read as numbers, such as [24, 21, 0]. */

/**
 * @param {readonly number[]} version
 * @param {readonly number[]} other
 * @returns {boolean} whether the first comes before the second
 */
export function isOlder(version, other) {
  const at = other.findIndex((number, index) => number !== version[index]);
  return at >= 0 && (version[at] ?? 0) < other[at];
}
