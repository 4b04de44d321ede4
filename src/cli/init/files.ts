/** What a new project is made of. */
export interface ProjectOptions {
  /** The folder's name, fit for a package. */
  readonly name: string
  /** What package.json says of Trestle: a version or a `file:` path. */
  readonly dependency: string
  /** `whsec_…`: with it Trestle signs what it sends to the business's app. */
  readonly signingSecret: string
}

export interface ProjectFile {
  readonly path: string
  readonly text: string
  /** Holds a secret: mode 600. */
  readonly secret?: true
}

/** Every file of a new project, by its path. */
export function projectFiles(options: ProjectOptions): readonly ProjectFile[] {
  return [
    { path: 'package.json', text: packageJson(options) },
    { path: 'trestle.config.ts', text: CONFIG },
    { path: 'flows/first-flow.ts', text: FIRST_FLOW },
    { path: 'events/appointment-completed.json', text: `${JSON.stringify(APPOINTMENT, null, 2)}\n` },
    { path: 'tsconfig.json', text: TSCONFIG },
    { path: '.env', text: envFile(options.signingSecret), secret: true },
    { path: '.env.example', text: envFile('') },
    { path: '.gitignore', text: GITIGNORE },
    { path: 'README.md', text: readme(options) },
  ]
}

function packageJson({ name, dependency }: ProjectOptions): string {
  const json = {
    name,
    private: true,
    type: 'module',
    scripts: { dev: 'trestle dev', start: 'trestle serve', doctor: 'trestle doctor' },
    dependencies: { trestle: dependency },
  }
  return `${JSON.stringify(json, null, 2)}\n`
}

const CONFIG = `import { defineConfig, env } from 'trestle'
import { businessApp } from 'trestle/connectors/business-app'
import { firstFlow } from './flows/first-flow.ts'

export default defineConfig({
  connections: {
    // Your own app: it sends events to Trestle, and flows can call it back at baseUrl.
    app: businessApp.connect({
      baseUrl: 'http://127.0.0.1:4000',
      allowPrivateNetwork: true, // only because it runs on this machine
      secrets: { signingSecret: env('APP_SIGNING_SECRET') },
    }),
  },
  flows: [firstFlow],
})
`

const FIRST_FLOW = `import { defineFlow, money } from 'trestle'
import { businessApp } from 'trestle/connectors/business-app'

/** Thanks the customer after an appointment. Change it: "trestle dev" takes it up as soon as you save. */
export const firstFlow = defineFlow({
  name: 'first-flow',
  summary: 'Thanks the customer after an appointment',
  on: businessApp.on('appointment.completed'),
  // Appointments of one customer go one after another; those of others do not wait for them.
  key: (event) => event.data.customer.email,
  async run({ event, step, sleep }) {
    const { customer, service, price } = event.data

    // A step is done once: after a crash its result is read from the journal instead.
    const thanks = await step('write thanks', () => {
      return \`Dear \${customer.name}, thank you for \${money(price.amount, price.currency)} (\${service}).\`
    })

    // This wait is a row in the database. Kill the process now: the run goes on where it was.
    await sleep('5 seconds')

    await step('say thanks', () => {
      console.log(\`To \${customer.email}: \${thanks}\`)
    })
    return { thanked: customer.email }
  },
})
`

const APPOINTMENT = {
  id: 'apt_1',
  customer: { name: 'Ada Lovelace', email: 'ada@example.com' },
  service: 'Haircut',
  startsAt: '2026-11-22T09:00:00+01:00',
  endsAt: '2026-11-22T09:45:00+01:00',
  price: { amount: 4500, currency: 'EUR' },
}

const TSCONFIG = `{
  "compilerOptions": {
    "target": "es2023",
    "module": "nodenext",
    "strict": true,
    "noUncheckedIndexedAccess": true,
    "erasableSyntaxOnly": true,
    "verbatimModuleSyntax": true,
    "allowImportingTsExtensions": true,
    "skipLibCheck": true,
    "noEmit": true
  },
  "include": ["trestle.config.ts", "flows"]
}
`

function envFile(signingSecret: string): string {
  return `# Signs what Trestle sends to your app (Standard Webhooks). Your app has the same secret.
APP_SIGNING_SECRET=${signingSecret}

# Left out: a PostgreSQL of its own, in .trestle/. Set: any PostgreSQL 15 or newer.
#DATABASE_URL=postgres://user:password@localhost:5432/shop

# "trestle dev" makes one in .trestle/. On a server, set it: openssl rand -base64 32
#TRESTLE_MASTER_KEY=
`
}

const GITIGNORE = `node_modules/
.trestle/
.env
`

function readme({ name }: ProjectOptions): string {
  return `# ${name}

Flows on [Trestle](https://www.npmjs.com/package/trestle).

\`\`\`sh
npx trestle dev                                   # the platform with its own database; stop it with Ctrl-C
npx trestle emit appointment.completed --data @events/appointment-completed.json
npx trestle runs                                  # what became of it
\`\`\`

| file | holds |
| --- | --- |
| \`trestle.config.ts\` | connections and flows |
| \`flows/\` | one file per flow |
| \`events/\` | examples of events, to try flows with |
| \`.env\` | secrets of this machine; never commit it |
| \`.trestle/\` | database and master key of this machine; never commit it |

\`npx trestle --help\` lists what else there is; \`npx trestle doctor\` says what is wrong.
`
}
