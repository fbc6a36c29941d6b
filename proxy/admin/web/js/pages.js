// Every page by the word that its address begins with, in the order of the side bar. `one` shows a single thing of the kind.
import { Fleet } from "./pages/fleet.js";
import { Agent } from "./pages/agent.js";
import { Sessions } from "./pages/sessions.js";
import { Session } from "./pages/session.js";
import { Decisions } from "./pages/decisions.js";
import { Decision } from "./pages/decision.js";
import { Budgets } from "./pages/budgets.js";
import { Budget } from "./pages/budget.js";
import { Routing } from "./pages/routing.js";
import { Approvals } from "./pages/approvals.js";
import { Kill } from "./pages/kill.js";
import { Config } from "./pages/config.js";

export const PAGES = {
  fleet: { title: "Fleet", group: "Watch", key: "f", all: Fleet, one: Agent },
  sessions: { title: "Sessions", group: "Watch", key: "s", all: Sessions, one: Session },
  decisions: { title: "Decisions", group: "Watch", key: "d", all: Decisions, one: Decision },
  budgets: { title: "Budgets", group: "Watch", key: "b", all: Budgets, one: Budget },
  routing: { title: "Routing", group: "Watch", key: "r", all: Routing },
  approvals: { title: "Approvals", group: "Act", key: "a", all: Approvals },
  kill: { title: "Kill switch", group: "Act", key: "k", all: Kill },
  config: { title: "Config", group: "Set up", key: "c", all: Config },
};
