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

declare module 'electron' {
  interface WebContents {
    send(channel: string, ...args: unknown[]): void
  }
  interface Event {
    preventDefault(): void
  }
  export class BrowserWindow {
    static fromWebContents(contents: WebContents): BrowserWindow
  }
  export const app: {
    whenReady(): Promise<void>
    getPath(name: 'userData'): string
    on(event: 'before-quit', listener: (event: Event) => void): void
    quit(): void
  }
  export const dialog: {
    showOpenDialog(
      window: BrowserWindow,
      options: { properties: ('openDirectory' | 'openFile')[] },
    ): Promise<{ canceled: boolean; filePaths: string[] }>
  }
  export const ipcMain: {
    handle(channel: string, listener: (event: { sender: WebContents }, ...args: any[]) => unknown): void
  }
}
