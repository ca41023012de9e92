/**
 * Characters that do not show, or show something else than what is there: of the text that a person decides about, each is
 * written as what it is. Only for what is shown: what runs, and what is hashed, is never changed.
 */

/** Controls, format characters (zero width, reading direction, tags), separators, fillers, variation selectors, odd blanks. */
const HIDDEN =
  /[[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}\p{Zs}\p{Default_Ignorable_Code_Point}\p{Variation_Selector}\p{Noncharacter_Code_Point}\u2800]--[\n\t\x20]]/gv;

/** Of these texts in prose are made: joiners and variants of emoji and scripts, blanks, icons. */
const USUAL = /^[\u200c\u200d\ufe00-\ufe0f\p{Zs}\p{Co}]$/v;

const NAMED_MAX = 10;

/** With `<U+202E>` for each such character. Line breaks and tabs stay. */
export function visibleText(text: string): string {
  return text.replace(HIDDEN, nameOf);
}

/** The same for prose of models, tools and people, where joiners in an emoji are not there to deceive. */
export function visibleProse(text: string): string {
  return text.replace(HIDDEN, (character) => (USUAL.test(character) ? character : nameOf(character)));
}

/** JSON with such characters escaped: the same value. They stand only in its strings. */
export function visibleJson(json: string): string {
  return json.replace(HIDDEN, (character) => {
    // Beyond strings there are only blanks, and JSON's own are not among these.
    return [...Array(character.length).keys()].map((at) => `\\u${hex(character.charCodeAt(at))}`).join("");
  });
}

/** `U+200B, U+202E`: which of them are in the text; empty when there are none. */
export function hiddenIn(text: string): string {
  const names = [...new Set(text.match(HIDDEN) ?? [])].map((character) => nameOf(character).slice(1, -1));
  const more = names.length > NAMED_MAX ? ` and ${names.length - NAMED_MAX} more` : "";
  return names.toSorted().slice(0, NAMED_MAX).join(", ") + more;
}

function nameOf(character: string): string {
  return `<U+${hex(character.codePointAt(0) ?? 0).toUpperCase()}>`;
}

function hex(code: number): string {
  return code.toString(16).padStart(4, "0");
}
