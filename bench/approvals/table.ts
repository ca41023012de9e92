/** The table of the proof of approvals, and whether it is what it must be. */
import type { Fate, Finding, Offence } from "./audit.ts";
import type { Post } from "./people.ts";
import type { ApprovalsReport } from "./run.ts";

const OFFENCES: readonly Offence[] = ["lost", "run twice", "run without a decision", "run against a decision", "wrong"];
const FINDINGS_SHOWN = 50;

export function findingsOf({ findings, audits }: ApprovalsReport): readonly Finding[] {
  return [...findings, ...audits.flatMap((audit) => audit.findings)];
}

export function renderApprovals(report: ApprovalsReport): string {
  const { audits, posts, kills } = report;
  const fates = audits.flatMap((audit) => audit.fates);
  const findings = findingsOf(report);
  const fate = (wanted: Fate): number => fates.filter((one) => one === wanted).length;
  const rows: [string, string | number][] = [
    ["asked", `${audits.reduce((sum, audit) => sum + audit.asked, 0)} over ${audits.length} sessions`],
    ["approved as asked", fate("approved")],
    ["approved with edited arguments", fate("edited")],
    ["denied", fate("denied")],
    ["expired, so denied", fate("expired")],
    ["posted again, with the same key", told(posts, "repeat")],
    ["posted by two people at once, the same", told(posts, "twin")],
    ["approved and denied at once", told(posts, "race")],
    ["contradicted afterwards", told(posts, "contradict")],
    ["posted after the deadline", told(posts, "late")],
    ["with another hash, or through another session", told(posts, "misdirected")],
    ...(["api", "worker", "temporal"] as const).map((name): [string, string] => [
      `posted at the instant of a kill of ${name}`,
      told(posts.filter(({ atKillOf }) => atKillOf === name)),
    ]),
    ["had to be sent again, because nobody was there", posts.filter(({ failures }) => failures > 0).length],
    ["kills", shown(Object.entries(kills))],
    ["restarts of the whole stack", report.restarts],
    ...OFFENCES.map((offence): [string, string] => [
      `**${offence}**`,
      `**${findings.filter((finding) => finding.offence === offence).length}**`,
    ]),
  ];
  const lines = rows.map(([name, value]) => `| ${name} | ${value} |`);
  const details = findings.slice(0, FINDINGS_SHOWN).map(({ offence, detail }) => `- ${offence}: ${detail}`);
  return `${["| approvals | |", "|---|---|", ...lines, "", ...details].join("\n")}\n`;
}

/** How many, and what they were answered. */
function told(posts: readonly Post[], role?: Post["role"]): string {
  const counted = new Map<string, number>();
  const those = posts.filter((post) => role === undefined || post.role === role);
  for (const { status, code } of those) {
    const answer = status === 200 ? "200" : `${status} ${code}`;
    counted.set(answer, (counted.get(answer) ?? 0) + 1);
  }
  return counted.size === 0 ? "0" : `${those.length}: ${shown([...counted].sort())}`;
}

function shown(counts: readonly (readonly [string, number])[]): string {
  return counts
    .filter(([, count]) => count > 0)
    .map(([name, count]) => `${count} × ${name}`)
    .join(", ");
}
