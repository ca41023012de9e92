/** The tables as Kysely sees them: integers for time (ms), JSON as text, the same on every dialect. */

export interface Schema {
  sessions: SessionsTable;
  messages: MessagesTable;
  turns: TurnsTable;
  steps: StepsTable;
  transcript: TranscriptTable;
  tool_calls: ToolCallsTable;
  events: EventsTable;
  sandboxes: SandboxesTable;
  artifacts: ArtifactsTable;
  artifact_files: ArtifactFilesTable;
  blobs: BlobsTable;
  attempts: AttemptsTable;
}

export interface SessionsTable {
  id: string;
  status: string;
  title: string | null;
  agent_name: string;
  agent: string;
  metadata: string;
  /** SHA-256 of what the session was created from, so that the same id with other content is told apart. */
  request_hash: string;
  created_at: number;
  updated_at: number;
  closed_at: number | null;
  /** The newest event's seq. */
  last_seq: number;
  /** Where the next message of the transcript goes. */
  next_position: number;
}

export interface MessagesTable {
  session_id: string;
  id: string;
  /** Order of arrival in the session. */
  position: number;
  turn_id: string;
  mode: string;
  content: string;
  content_hash: string;
  /** received: a row. submitted: the workflow knows it. taken: its turn has begun. ended, refused: it is over. */
  state: string;
  received_at: number;
}

export interface TurnsTable {
  id: string;
  session_id: string;
  message_id: string;
  /** running, or how it ended. */
  state: string;
  started_at: number;
  ended_at: number | null;
  steps: number;
  input_tokens: number;
  output_tokens: number;
  cached_tokens: number;
  reasoning_tokens: number;
  /** The agent's last text. */
  output: string | null;
  structured_output: string | null;
  /** How often the agent was asked again for an answer that matches its schema. */
  re_asked: number;
}

export interface StepsTable {
  turn_id: string;
  step: number;
  /** Rises with each attempt; only the newest may write. */
  epoch: number;
  state: string;
  /** Model calls that failed, lost workers not counted. */
  failures: number;
  /** What the activity answered, once it is committed. */
  result: string | null;
}

export interface TranscriptTable {
  session_id: string;
  position: number;
  role: string;
  blocks: string;
}

export interface ToolCallsTable {
  id: string;
  session_id: string;
  turn_id: string;
  step: number;
  /** Where in the transcript its result belongs: reserved when the call is made, so that results stand in call order. */
  position: number;
  provider_call_id: string | null;
  name: string;
  arguments: string;
  arguments_hash: string;
  epoch: number;
  state: string;
  started_at: number | null;
  intent: string | null;
  stdout_published: number;
  stderr_published: number;
  outcome: string | null;
}

export interface EventsTable {
  session_id: string;
  seq: number;
  at: number;
  fact: string;
}

export interface SandboxesTable {
  session_id: string;
  generation: number;
  id: string;
  provider: string;
  host: string;
  state: string;
  changed_at: number;
}

export interface ArtifactsTable {
  id: string;
  session_id: string;
  turn_id: string;
  path: string;
  sha256: string;
  bytes: number;
  content_type: string;
  uploaded_at: number;
}

/** What a scan last saw of a file, so that an unchanged one is not read again. */
export interface ArtifactFilesTable {
  session_id: string;
  path: string;
  bytes: number;
  modified_at: number;
  sha256: string;
}

export interface BlobsTable {
  sha256: string;
  bytes: number;
  created_at: number;
}

/** Activity attempts that run now, so that the next worker on a host can hand a dead one's back to Temporal. */
export interface AttemptsTable {
  task_token: string;
  host: string;
  /** Pid and start time of the worker, which together are never used twice. */
  process: string;
  started_at: number;
  /** When its work was committed; null while it runs. */
  ended_at: number | null;
}
