// The parts of other packages that the documentation's programs use, for where these packages are not installed.

declare module 'microsandbox' {
  interface ExecOutput {
    stdout(): string
  }
  interface MountBuilder {
    bind(host: string): this
    named(name: string): this
    tmpfs(): this
    disk(host: string): this
  }
  interface SandboxBuilder {
    image(name: string): this
    volume(guestPath: string, configure: (mount: MountBuilder) => MountBuilder): this
    create(): Promise<Sandbox>
  }
  export class Sandbox {
    static builder(name: string): SandboxBuilder
    shell(script: string): Promise<ExecOutput>
    stop(): Promise<void>
  }
}
