/** The tables as Kysely sees them: integers for time (ms), JSON as text, the same on every dialect. */
import type { TerminalFramesTable, TerminalsTable } from "./terminals-tables.ts";
import type { WorkWaitsTable } from "./work-waits-table.ts";

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
  agents: AgentsTable;
  waits: WaitsTable;
  grants: GrantsTable;
  backend_states: BackendStatesTable;
  backend_state_chunks: BackendStateChunksTable;
  workers: WorkersTable;
  snapshots: SnapshotsTable;
  snapshot_blobs: SnapshotBlobsTable;
  workspace_files: WorkspaceFilesTable;
  commands: CommandsTable;
  terminals: TerminalsTable;
  terminal_frames: TerminalFramesTable;
  hosts: HostsTable;
  settings: SettingsTable;
  work_waits: WorkWaitsTable;
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
  /** The stored agent that it was made from. */
  agent_id: string | null;
  agent_version: number | null;
  client_tools: string;
  /** Rises with each configuration that is applied; 0 is the one that the workflow was started with. */
  configuration: number;
  /** A configuration that waits for the end of the running turn. */
  pending_configuration: string | null;
  /** Tells it from an earlier session of the same id. Empty: it was made before 0.4. */
  incarnation: string;
  /** The workflow that carries it; null while none is known to be started. */
  workflow_id: string | null;
  /** close or delete, once somebody has asked for it. */
  ending: string | null;
  /** 1: its workflow has heard of it. */
  ending_told: number;
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
  /** received: a row. submitted: the workflow knows it. taken: its turn has begun. ended, refused, removed: it is over. */
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
  /** asked, once somebody wants it to stop; told, once its workflow has heard of it. */
  stop: string | null;
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
  /** JSON of the place of the attempt that has it; null: of none that is known. */
  taken_by: string | null;
}

export interface TranscriptTable {
  session_id: string;
  position: number;
  role: string;
  blocks: string;
  /** 1: the agent was stopped while it wrote this. */
  interrupted: number;
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
  /** planned, waiting (for what its row in waits says), running, done. */
  state: string;
  started_at: number | null;
  intent: string | null;
  stdout_published: number;
  stderr_published: number;
  outcome: string | null;
  /** 1 when a person has edited the arguments: those here are the edited ones. */
  edited: number;
  /** The generation of the session's sandbox when its first attempt began; 0 when there was none. */
  generation: number;
  /** JSON of the place of the attempt that has it; null: of none that is known. */
  taken_by: string | null;
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
  /** Of a sandbox that lives on a worker's host: that host. Empty: any worker reaches it. */
  host: string;
  /** starting, ready, lost, stopped (for good), idle (stopped until it is needed; a snapshot holds its workspace). */
  state: string;
  changed_at: number;
  /** JSON of the spec that it was made by; null in rows of 0.1 and 0.2. */
  spec: string | null;
  /** The snapshot that its workspace was restored from. */
  restored_from: string | null;
  /** JSON list of what was lost with the generation before, in words; null when nothing was. */
  lost: string | null;
  /** 1 when the model has been told of it. */
  told: number;
  /** When something last used it, so that an idle one is told. */
  used_at: number;
  /** How far the proxy's decisions are in the log. */
  network_offset: number;
  /** The process that makes it, while it is starting, and until when that is believed. */
  maker: string | null;
  maker_until: number;
  /** Since its last snapshot its workspace could not be kept: the turn of which that was said, or why. */
  unkept: string | null;
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

/** Versions of stored agents. A row never changes but for `deleted_at`, which all versions of an agent get together. */
export interface AgentsTable {
  id: string;
  version: number;
  name: string;
  /** The whole agent as JSON, defaults filled in. */
  agent: string;
  content_hash: string;
  source: string;
  created_at: number;
  deleted_at: number | null;
}

/** What a call waits for, or has waited for. */
export interface WaitsTable {
  call_id: string;
  /** approval, question, tool. */
  kind: string;
  session_id: string;
  turn_id: string;
  step: number;
  name: string;
  /** pending, decided, cancelled. */
  state: string;
  requested_at: number;
  deadline: number;
  arguments: string;
  arguments_hash: string;
  /** What else the one who decides is shown, and what a decision is checked with: JSON, by kind. */
  request: string;
  decision: string | null;
  decided_at: number | null;
  /** The Idempotency-Key of the decision, so that a repeat of the request is told from another decision. */
  decided_key: string | null;
  /** 1 when the workflow has been told. */
  delivered: number;
}

/** Remembered decisions. */
export interface GrantsTable {
  id: string;
  scope: string;
  session_id: string | null;
  project: string | null;
  tool: string;
  action: string;
  /** JSON of argument patterns, or null: then exactly the arguments of this hash. */
  match: string | null;
  arguments_hash: string | null;
  reason: string | null;
  call_id: string;
  created_at: number;
  revoked_at: number | null;
}

/** What a backend needs to resume a session elsewhere, beside the transcript: its head here, its text in chunks. */
export interface BackendStatesTable {
  session_id: string;
  backend: string;
  /** Rises when the text begins anew; chunks of other generations are dead. */
  generation: number;
  chunks: number;
  /** JSON of the backend's own. */
  meta: string;
  /** The newest step that it holds: a state is only good for the step after it. */
  turn_id: string;
  step: number;
}

export interface BackendStateChunksTable {
  session_id: string;
  backend: string;
  generation: number;
  number: number;
  text: string;
}

/** Running workers and what they can: renewed every few seconds, removed at their end. */
export interface WorkersTable {
  /** Pid and start time, and the host before them. */
  id: string;
  started_at: number;
  seen_at: number;
  announcement: string;
}

/** What this installation has to remember of itself. */
export interface SettingsTable {
  name: string;
  value: string;
}

/** Hosts of workers, and when one of them last said that it lives: also after the worker is gone. */
export interface HostsTable {
  host: string;
  seen_at: number;
}

/** A workspace as it was: a blob that lists its files, and the blobs that hold them. */
export interface SnapshotsTable {
  id: string;
  session_id: string;
  generation: number;
  turn_id: string | null;
  /** The blob that lists the files; empty where the provider keeps the snapshot itself. */
  manifest: string;
  /** The provider's own name of it, where it keeps it. */
  native: string | null;
  files: number;
  bytes: number;
  stored_bytes: number;
  made_at: number;
}

export interface SnapshotBlobsTable {
  snapshot_id: string;
  sha256: string;
}

/** The files of a workspace as they were last seen, so that changes can be told. */
export interface WorkspaceFilesTable {
  session_id: string;
  path: string;
  bytes: number;
  version: string;
}

/** Commands of callers, by the same rules as an agent's. */
export interface CommandsTable {
  id: string;
  session_id: string;
  /** JSON of what was asked for. */
  request: string;
  request_hash: string;
  epoch: number;
  /** The generation of the session's sandbox when its first attempt began; 0 when there was none. */
  generation: number;
  /** planned, running, done. */
  state: string;
  made_at: number;
  started_at: number | null;
  ended_at: number | null;
  stdout_published: number;
  stderr_published: number;
  outcome: string | null;
  exit_code: number | null;
  result: string | null;
  /** JSON of the place of the attempt that has it; null: of none that is known. */
  taken_by: string | null;
}
