'use strict'
// mailauth: node verify.cjs PORT FILE...; one line a file: its name and "algorithm=result" of each signature.
const fs = require('node:fs')
const path = require('node:path')
const { Resolver } = require('node:dns').promises
const { dkimVerify } = require(require.resolve('mailauth/lib/dkim/verify', { paths: [process.cwd()] }))

const [port, ...files] = process.argv.slice(2)
const resolver = new Resolver()
resolver.setServers([`127.0.0.1:${port}`])

const main = async () => {
    for (const file of files) {
        const { results } = await dkimVerify(fs.readFileSync(file), { resolver: (name, type) => resolver.resolve(name, type) })
        const said = results.map((one) => `${one.algo}=${one.status.result}`)
        console.log([path.basename(file), ...said].join(' '))
    }
}
main()
