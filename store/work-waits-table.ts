/** The row of a piece of work that waits for a worker. */
export interface WorkWaitsTable {
  /** A step, a call or a command. */
  name: string;
  session_id: string;
  since: number;
  looked_at: number;
}
