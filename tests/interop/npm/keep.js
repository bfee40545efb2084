'use strict'
// Haraka plugin: takes every recipient; keeps mail for in.test in $KEEP, one file a message; leaves other mail to the next.
const fs = require('node:fs')
const path = require('node:path')

exports.hook_rcpt = (next) => next(OK)

exports.hook_queue = function (next, connection) {
    const txn = connection.transaction
    if (txn.rcpt_to[0].host !== 'in.test') return next()
    const half = path.join(process.env.KEEP, `.${txn.uuid}`)
    const file = fs.createWriteStream(half)
    file.once('close', () => {
        fs.renameSync(half, path.join(process.env.KEEP, txn.uuid))
        next(OK)
    })
    txn.message_stream.pipe(file)
}
