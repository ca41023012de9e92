/** The rows of terminals, and of what goes through them. */
export interface TerminalsTable {
  id: string;
  session_id: string;
  /** opening, open, closed. */
  state: string;
  columns: number;
  rows: number;
  /** Whoever may type: a token of the connection that opened it or took it over. */
  writer: string | null;
  opened_at: number;
  /** When its worker, and when somebody watching, last said that it is there. */
  served_at: number;
  watched_at: number;
  reason: string | null;
  /** JSON of the place of the attempt that has it; null: of none that is known. */
  taken_by: string | null;
}

/** What goes through a terminal: bytes as base64. Old ones are dropped. */
export interface TerminalFramesTable {
  terminal_id: string;
  /** in, out, resize. */
  direction: string;
  number: number;
  data: string;
}
